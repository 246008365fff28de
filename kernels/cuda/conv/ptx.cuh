// Every PTX instruction that the kernels use, one a function, with its twin for the emulator. A kernel has no other
// inline assembly. Fragments go in and out by reference and addresses as pointers, so both sides get the same.
#ifdef FASTCONV_EMULATOR
#define TWIN_LINE , int line = __builtin_LINE()
__device__ inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned* b TWIN_LINE) {
    emulator::matrix_multiply(emulator::Matrix::tf32, d, a, b, line);
}
__device__ inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned* b TWIN_LINE) {
    emulator::matrix_multiply(emulator::Matrix::bf16, d, a, b, line);
}
__device__ inline void mma_half(float (&d)[4], const unsigned (&a)[4], const unsigned* b TWIN_LINE) {
    emulator::matrix_multiply(emulator::Matrix::half, d, a, b, line);
}
__device__ inline void ldmatrix_x4(unsigned (&r)[4], const void* row TWIN_LINE) {
    emulator::load_matrix(r, row, 4, false, line);
}
__device__ inline void ldmatrix_x4_trans(unsigned (&r)[4], const void* row TWIN_LINE) {
    emulator::load_matrix(r, row, 4, true, line);
}
__device__ inline void cp_async_16(void* shared, const void* global, bool valid TWIN_LINE) {
    emulator::copy_async(shared, global, 16, valid ? 16 : 0, line);
}
__device__ inline void cp_async_4(void* shared, const void* global, bool valid TWIN_LINE) {
    emulator::copy_async(shared, global, 4, valid ? 4 : 0, line);
}
__device__ inline void cp_async_commit() { emulator::copy_async_commit(); }
template <int PENDING> __device__ inline void cp_async_wait() { emulator::copy_async_wait(PENDING); }
// Nearest, ties away from zero. What lies below the 10 bits of mantissa is cleared, of a NaN too: one that has no other
// bits becomes an infinity, as in sm_90's machine code.
__device__ inline unsigned to_tf32(float x) {
    const unsigned bits = __float_as_uint(x);
    return ((bits & 0x7f800000) == 0x7f800000 ? bits : bits + 0x1000) & 0xffffe000;
}
// Nearest, ties to even; NaN becomes the canonical one.
__device__ inline unsigned short to_bf16(float x) {
    const unsigned bits = __float_as_uint(x);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff;
    return (unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
__device__ inline unsigned short to_half(float x) {
    const unsigned bits = __float_as_uint(x), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000) return 0x7fff;
    if (size >= 0x477ff000) return (unsigned short)(sign | 0x7c00);
    if (size < 0x38800000) return (unsigned short)(sign | (unsigned)rint(fabs((double)x) * 0x1p24));
    return (unsigned short)(sign | (size + 0xfff + (size >> 13 & 1) - 0x38000000) >> 13);
}
__device__ inline float from_half(unsigned short h) {
    const unsigned sign = (unsigned)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3ff;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000 | mantissa << 13);
    if (exponent) return __uint_as_float(sign | (exponent + 112) << 23 | mantissa << 13);
    return (sign ? -1.0f : 1.0f) * (float)mantissa * 0x1p-24f;
}
#undef TWIN_LINE
#else
__device__ inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned* b) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned* b) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline void mma_half(float (&d)[4], const unsigned (&a)[4], const unsigned* b) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline void ldmatrix_x4(unsigned (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
}
__device__ inline void ldmatrix_x4_trans(unsigned (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
}
// The last operand says whether the source is ignored and zeros are written: one predicate, where a number of bytes that
// the compiler does not know takes eight instructions of address arithmetic.
__device__ inline void cp_async_16(void* shared, const void* global, bool valid) {
    asm volatile(
        "{ .reg .pred absent; setp.eq.u32 absent, %2, 0; cp.async.cg.shared.global [%0], [%1], 16, absent; }" ::"r"(
            (unsigned)__cvta_generic_to_shared(shared)),
        "l"(global), "r"((unsigned)valid)
        : "memory");
}
__device__ inline void cp_async_4(void* shared, const void* global, bool valid) {
    asm volatile(
        "{ .reg .pred absent; setp.eq.u32 absent, %2, 0; cp.async.ca.shared.global [%0], [%1], 4, absent; }" ::"r"(
            (unsigned)__cvta_generic_to_shared(shared)),
        "l"(global), "r"((unsigned)valid)
        : "memory");
}
__device__ inline void cp_async_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int PENDING> __device__ inline void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}
__device__ inline unsigned to_tf32(float x) {
    unsigned r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
    return r;
}
__device__ inline unsigned short to_bf16(float x) {
    unsigned short r;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(x));
    return r;
}
__device__ inline unsigned short to_half(float x) {
    unsigned short r;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(x));
    return r;
}
__device__ inline float from_half(unsigned short h) {
    float r;
    asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(h));
    return r;
}
#endif
