// mma.sync and ldmatrix, with the fragment layouts of the PTX ISA (sections on mma.m16n8k8, mma.m16n8k16, ldmatrix):
// lane l holds group g = l / 4 and t = l % 4.
#include <cstring>

#include "state.h"

namespace emulator {

static float from_bits(uint32_t bits) {
    return __builtin_bit_cast(float, bits);
}

static float from_half(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3ff;
    if (exponent == 31) return from_bits(sign | 0x7f800000 | mantissa << 13);
    if (exponent) return from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    return (sign ? -1.0f : 1.0f) * (float)mantissa * 0x1p-24f;
}

struct MultiplyOperands {
    Matrix kind;
    float* d;
    const unsigned *a, *b;
};

static void need_all_lanes(unsigned lanes, const char* name) {
    if (lanes != ~0u) fault("%s: only lanes %08x of the warp take part; all 32 must", name, lanes);
}

// tf32 has the upper 19 bits of a float; what stands below is ignored.
static void gather_tf32(void** operands, float (&a)[16][16], float (&b)[16][8]) {
    for (unsigned lane = 0; lane < WARP; ++lane) {
        const auto& o = *(MultiplyOperands*)operands[lane];
        const int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; ++i) a[g + i % 2 * 8][t + i / 2 * 4] = from_bits(o.a[i] & 0xffffe000u);
        for (int i = 0; i < 2; ++i) b[t + i * 4][g] = from_bits(o.b[i] & 0xffffe000u);
    }
}

static void gather_16_bit(void** operands, bool bf16, float (&a)[16][16], float (&b)[16][8]) {
    const auto half = [bf16](uint32_t pair, int which) {
        const uint16_t bits = (uint16_t)(pair >> 16 * which);
        return bf16 ? from_bits((uint32_t)bits << 16) : from_half(bits);
    };
    for (unsigned lane = 0; lane < WARP; ++lane) {
        const auto& o = *(MultiplyOperands*)operands[lane];
        const int g = lane / 4, t = lane % 4;
        for (int h = 0; h < 2; ++h) {
            for (int i = 0; i < 4; ++i) a[g + i % 2 * 8][t * 2 + h + i / 2 * 8] = half(o.a[i], h);
            for (int i = 0; i < 2; ++i) b[t * 2 + h + i * 8][g] = half(o.b[i], h);
        }
    }
}

// The sum is taken in double and rounded once; the hardware's order and rounding are its own.
static void multiply(void** operands, unsigned lanes) {
    need_all_lanes(lanes, "mma");
    const Matrix kind = ((MultiplyOperands*)operands[0])->kind;
    float a[16][16], b[16][8];
    const int depth = kind == Matrix::tf32 ? 8 : 16;
    if (kind == Matrix::tf32)
        gather_tf32(operands, a, b);
    else
        gather_16_bit(operands, kind == Matrix::bf16, a, b);
    for (unsigned lane = 0; lane < WARP; ++lane) {
        float* d = ((MultiplyOperands*)operands[lane])->d;
        const int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; ++i) {
            const int row = g + i / 2 * 8, column = t * 2 + i % 2;
            double sum = d[i];
            for (int k = 0; k < depth; ++k) sum += (double)a[row][k] * (double)b[k][column];
            d[i] = (float)sum;
        }
    }
}

void matrix_multiply(Matrix kind, float* d, const unsigned* a, const unsigned* b, int line) {
    static const char* const names[] = {"mma tf32", "mma bf16", "mma half"};
    MultiplyOperands mine{kind, d, a, b};
    collective(~0u, names[(int)kind], &mine, multiply, line);
}

struct LoadOperands {
    unsigned* registers;
    const void* row;
    int count;
    bool transposed;
};

static void load(void** operands, unsigned lanes) {
    need_all_lanes(lanes, "ldmatrix");
    const auto& first = *(LoadOperands*)operands[0];
    for (int i = 0; i < first.count; ++i) {
        uint16_t matrix[8][8];
        for (int row = 0; row < 8; ++row) memcpy(matrix[row], ((LoadOperands*)operands[8 * i + row])->row, 16);
        for (unsigned lane = 0; lane < WARP; ++lane) {
            const int g = lane / 4, t = lane % 4 * 2;
            const uint16_t low = first.transposed ? matrix[t][g] : matrix[g][t];
            const uint16_t high = first.transposed ? matrix[t + 1][g] : matrix[g][t + 1];
            ((LoadOperands*)operands[lane])->registers[i] = low | (uint32_t)high << 16;
        }
    }
}

void load_matrix(unsigned* registers, const void* row, int count, bool transposed, int line) {
    static const char* const names[2][5] = {{"", "ldmatrix.x1", "ldmatrix.x2", "", "ldmatrix.x4"},
                                            {"", "ldmatrix.x1.trans", "ldmatrix.x2.trans", "", "ldmatrix.x4.trans"}};
    if (launch.current->lane < 8u * count) {
        if ((uintptr_t)row % 16) fault("ldmatrix in line %d: the row at %p does not lie on 16 bytes", line, row);
        if (!in_shared(row)) fault("ldmatrix in line %d: the row at %p is not in shared memory", line, row);
        if (launch.settings.checks) check((void*)row, 16, Access::read, __builtin_return_address(0));
    }
    LoadOperands mine{registers, row, count, transposed};
    collective(~0u, names[transposed][count], &mine, load, line);
}

}  // namespace emulator
