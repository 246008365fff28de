// Philox4x32-10, the counter-based random generator (Salmon et al., SC 2011, https://doi.org/10.1145/2063384.2063405):
// a block of four 32-bit words is a function of a 128-bit counter and a 64-bit key.

struct Words {
    unsigned word[4];
};

__device__ inline Words philox_block(unsigned long long block, unsigned stream, unsigned step,
                                     unsigned long long seed) {
    unsigned c0 = (unsigned)block, c1 = (unsigned)(block >> 32), c2 = stream, c3 = step;
    unsigned key0 = (unsigned)seed, key1 = (unsigned)(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const unsigned long long product0 = 0xD2511F53ull * c0, product1 = 0xCD9E8D57ull * c2;
        c0 = (unsigned)(product1 >> 32) ^ c1 ^ key0;
        c2 = (unsigned)(product0 >> 32) ^ c3 ^ key1;
        c1 = (unsigned)product1;
        c3 = (unsigned)product0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}
