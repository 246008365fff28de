// Update rules over the flat arenas of a model, one launch each; bound by memory: SGD with momentum moves five words
// a parameter, Adam seven. Learning rate and step are read from memory, so that a captured step can be replayed.
using T = ELEMENT;
#include "vector.cuh"
#include "map.cuh"

// For each element: parameter = rule(parameter, grad, state), which changes its state too. The arrays of a state that
// the settings do not need are null.
template <int STATES, class Rule> struct Update {
    T* parameter;
    const T* grad;
    T* state[STATES];
    Rule rule;

    __device__ void vector(long long i) const {
        Vector p = *(Vector*)(parameter + i), states[STATES];
        const Vector g = *(const Vector*)(grad + i);
        for (int s = 0; s < STATES; ++s) states[s] = state[s] ? *(Vector*)(state[s] + i) : p;
        for (int k = 0; k < WIDTH; ++k) {
            T mine[STATES];
            for (int s = 0; s < STATES; ++s) mine[s] = states[s].lane[k];
            p.lane[k] = rule(p.lane[k], g.lane[k], mine);
            for (int s = 0; s < STATES; ++s) states[s].lane[k] = mine[s];
        }
        for (int s = 0; s < STATES; ++s)
            if (state[s]) *(Vector*)(state[s] + i) = states[s];
        *(Vector*)(parameter + i) = p;
    }
    __device__ void scalar(long long i) const {
        T mine[STATES];
        for (int s = 0; s < STATES; ++s) mine[s] = state[s] ? state[s][i] : T(0);
        parameter[i] = rule(parameter[i], grad[i], mine);
        for (int s = 0; s < STATES; ++s)
            if (state[s]) state[s][i] = mine[s];
    }
};

template <int STATES, class Rule> __device__ inline void update(long long n, const Update<STATES, Rule>& each) {
    bool aligned = on_boundary(each.parameter, 16) && on_boundary(each.grad, 16);
    for (int s = 0; s < STATES; ++s) aligned = aligned && on_boundary(each.state[s], 16);
    for_each_element(aligned, n, each);
}

struct Sgd {
    T rate, momentum, decay;
    bool nesterov, moves;

    __device__ T operator()(T p, T g, T* velocity) const {
        g += decay * p;
        if (moves) {
            T& v = *velocity;
            v = momentum * v + g;
            g = nesterov ? g + momentum * v : v;
        }
        return p - rate * g;
    }
};

// Without momentum `velocity` is null.
extern "C" __global__ void __launch_bounds__(256, 4)
    sgd_update(T* parameter, const T* grad, T* velocity, const double* lr, const long long* step, long long n,
               double momentum, int nesterov, double decay) {
    const Sgd rule{(T)*lr, (T)momentum, (T)decay, nesterov != 0, velocity != nullptr};
    update(n, Update<1, Sgd>{parameter, grad, {velocity}, rule});
}

struct Adam {
    T rate, beta1, beta2, new1, new2, full1, full2, eps, decay;

    __device__ T operator()(T p, T g, T* state) const {
        T &m = state[0], &v = state[1];
        g += decay * p;
        m = beta1 * m + new1 * g;
        v = beta2 * v + new2 * (g * g);
        return p - rate * ((m / full1) / (sqrt(v / full2) + eps));
    }
};

// The bias corrections 1 - beta**t are powers in double, so one thread of each block computes them for all.
extern "C" __global__ void __launch_bounds__(256, 4)
    adam_update(T* parameter, const T* grad, T* m, T* v, const double* lr, const long long* step, long long n,
                double beta1, double beta2, double eps, double decay) {
    __shared__ double full[2];
    if (threadIdx.x == 0) {
        full[0] = 1 - pow(beta1, (double)*step);
        full[1] = 1 - pow(beta2, (double)*step);
    }
    __syncthreads();
    const Adam rule{(T)*lr,     (T)beta1,   (T)beta2, (T)(1 - beta1), (T)(1 - beta2),
                    (T)full[0], (T)full[1], (T)eps,   (T)decay};
    update(n, Update<2, Adam>{parameter, grad, {m, v}, rule});
}
