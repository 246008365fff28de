// Optimizer steps over the flat arenas of a model, one launch each; bound by memory: SGD with momentum moves five words
// a parameter, Adam seven. Learning rate and step are read from memory, so that a captured step can be replayed.
using T = ELEMENT;
#include "vector.cuh"
#include "map.cuh"

struct Sgd {
    T *parameter, *velocity;
    const T* grad;
    T rate, momentum, decay;
    bool nesterov;

    __device__ T move(T p, T g, T& v) const {
        g += decay * p;
        if (velocity) {
            v = momentum * v + g;
            g = nesterov ? g + momentum * v : v;
        }
        return p - rate * g;
    }
    __device__ void vector(long long i) const {
        Vector p = *(Vector*)(parameter + i), v = p;
        const Vector g = *(const Vector*)(grad + i);
        if (velocity) v = *(Vector*)(velocity + i);
        for (int k = 0; k < WIDTH; ++k) p.lane[k] = move(p.lane[k], g.lane[k], v.lane[k]);
        if (velocity) *(Vector*)(velocity + i) = v;
        *(Vector*)(parameter + i) = p;
    }
    __device__ void scalar(long long i) const {
        T v = velocity ? velocity[i] : T(0);
        parameter[i] = move(parameter[i], grad[i], v);
        if (velocity) velocity[i] = v;
    }
};

// Without momentum `velocity` is null.
extern "C" __global__ void __launch_bounds__(256, 4)
    sgd_update(T* parameter, const T* grad, T* velocity, const double* lr, long long n, T momentum, T weight_decay,
               int nesterov) {
    const bool aligned = on_boundary(parameter, 16) && on_boundary(grad, 16) && on_boundary(velocity, 16);
    for_each_element(aligned, n, Sgd{parameter, velocity, grad, (T)*lr, momentum, weight_decay, nesterov != 0});
}

struct Adam {
    T *parameter, *first, *second;
    const T* grad;
    T rate, beta1, beta2, new1, new2, full1, full2, eps, decay;

    __device__ T move(T p, T g, T& m, T& v) const {
        g += decay * p;
        m = beta1 * m + new1 * g;
        v = beta2 * v + new2 * (g * g);
        return p - rate * ((m / full1) / (sqrt(v / full2) + eps));
    }
    __device__ void vector(long long i) const {
        Vector p = *(Vector*)(parameter + i), m = *(Vector*)(first + i), v = *(Vector*)(second + i);
        const Vector g = *(const Vector*)(grad + i);
        for (int k = 0; k < WIDTH; ++k) p.lane[k] = move(p.lane[k], g.lane[k], m.lane[k], v.lane[k]);
        *(Vector*)(parameter + i) = p;
        *(Vector*)(first + i) = m;
        *(Vector*)(second + i) = v;
    }
    __device__ void scalar(long long i) const { parameter[i] = move(parameter[i], grad[i], first[i], second[i]); }
};

// The bias corrections 1 - beta**t are powers in double, so one thread of each block computes them for all.
extern "C" __global__ void __launch_bounds__(256, 4)
    adam_update(T* parameter, const T* grad, T* m, T* v, const double* lr, const long long* step, long long n,
                double beta1, double beta2, T eps, T weight_decay) {
    __shared__ double full[2];
    if (threadIdx.x == 0) {
        full[0] = 1 - pow(beta1, (double)*step);
        full[1] = 1 - pow(beta2, (double)*step);
    }
    __syncthreads();
    const bool aligned =
        on_boundary(parameter, 16) && on_boundary(grad, 16) && on_boundary(m, 16) && on_boundary(v, 16);
    for_each_element(aligned, n,
                     Adam{parameter, m, v, grad, (T)*lr, (T)beta1, (T)beta2, (T)(1 - beta1), (T)(1 - beta2), (T)full[0],
                          (T)full[1], eps, weight_decay});
}
