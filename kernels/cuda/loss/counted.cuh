// What the rows of a batch count in a loss, and what their sum is divided by; null for what there is not.

struct Counted {
    const double* weights;
    const double* total;
    double plain;

    __device__ double weight(long long row) const { return weights ? weights[row] : 1; }
    __device__ double divisor() const {
        const double all = total ? *total : plain;
        return all != 0 ? all : 1;
    }
};
