// Update rules over the flat arenas of a model, one launch each; bound by memory: SGD with momentum moves five words
// a parameter, Adam seven. Learning rate and step are read from memory, so that a captured step can be replayed. A rule
// is a struct of the numbers that are computed once, with what becomes of one parameter. `pieces` are the first element
// and the end of each piece that is updated; null for all n elements.
using T = ELEMENT;
#include "vector.cuh"
#include "map.cuh"

// Of the rules with most numbers, as double: 64 registers a thread would not do.
constexpr int BLOCKS = sizeof(T) == 4 ? 4 : 3;

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

struct Pieces {
    const long long* bounds;
    long long count;
};

template <int STATES, class Rule>
__device__ inline void update(Pieces pieces, long long n, const Update<STATES, Rule>& each) {
    bool aligned = on_boundary(each.parameter, 16) && on_boundary(each.grad, 16);
    for (int s = 0; s < STATES; ++s) aligned = aligned && on_boundary(each.state[s], 16);
    if (!pieces.bounds) return for_each_element(aligned, n, each);
    for (long long piece = blockIdx.x; piece < pieces.count; piece += gridDim.x) {
        const long long begin = pieces.bounds[2 * piece], end = pieces.bounds[2 * piece + 1];
        const long long whole = aligned && begin % WIDTH == 0 ? begin + (end - begin) / WIDTH * WIDTH : begin;
        for (long long i = begin + threadIdx.x * WIDTH; i < whole; i += blockDim.x * WIDTH) each.vector(i);
        for (long long i = whole + threadIdx.x; i < end; i += blockDim.x) each.scalar(i);
    }
}

// The gradient of the loss with its L2 and L1 penalties.
struct Penalties {
    T decay, l1;

    __device__ T operator()(T p, T g) const {
        g += decay * p;
        return g + l1 * (p > T(0) ? T(1) : p < T(0) ? T(-1) : p);
    }
};

struct Sgd {
    T rate, momentum, added;
    Penalties penalties;
    bool nesterov, moves, dampened;

    __device__ T operator()(T p, T g, T* velocity) const {
        g = penalties(p, g);
        if (moves) {
            T& v = *velocity;
            const T fresh = dampened ? added * g : g;
            v = momentum * v + fresh;
            g = nesterov ? g + momentum * v : v;
        }
        return p - rate * g;
    }
};

// Without momentum `velocity` is null.
extern "C" __global__ void __launch_bounds__(256, 4)
    sgd_update(T* parameter, const T* grad, T* velocity, const double* lr, const long long* step,
               const long long* pieces, long long count, long long n, double momentum, int nesterov, double decay,
               double dampening, double l1) {
    const Penalties penalties{(T)decay, (T)l1};
    const bool dampened = dampening != 0 && *step != 1;
    const Sgd rule{(T)*lr, (T)momentum, (T)(1 - dampening), penalties, nesterov != 0, velocity != nullptr, dampened};
    update({pieces, count}, n, Update<1, Sgd>{parameter, grad, {velocity}, rule});
}

struct Adagrad {
    T rate, eps;
    Penalties penalties;

    __device__ T operator()(T p, T g, T* state) const {
        T& sum = *state;
        g = penalties(p, g);
        sum += g * g;
        return p - rate * (g / (sqrt(sum) + eps));
    }
};

extern "C" __global__ void __launch_bounds__(256, 4)
    adagrad_update(T* parameter, const T* grad, T* sum, const double* lr, const long long* step,
                   const long long* pieces, long long count, long long n, double lr_decay, double eps, double decay,
                   double l1) {
    const Adagrad rule{(T)(*lr / (1 + (double)(*step - 1) * lr_decay)), (T)eps, {(T)decay, (T)l1}};
    update({pieces, count}, n, Update<1, Adagrad>{parameter, grad, {sum}, rule});
}

struct Adadelta {
    T rate, rho, added, eps;
    Penalties penalties;

    __device__ T operator()(T p, T g, T* state) const {
        T &square = state[0], &changes = state[1];
        g = penalties(p, g);
        square = rho * square + added * g * g;
        const T change = sqrt(changes + eps) / sqrt(square + eps) * g;
        changes = rho * changes + added * (change * change);
        return p - rate * change;
    }
};

extern "C" __global__ void __launch_bounds__(256, 4)
    adadelta_update(T* parameter, const T* grad, T* square, T* changes, const double* lr, const long long* step,
                    const long long* pieces, long long count, long long n, double rho, double eps, double decay,
                    double l1) {
    const Adadelta rule{(T)*lr, (T)rho, (T)(1 - rho), (T)eps, {(T)decay, (T)l1}};
    update({pieces, count}, n, Update<2, Adadelta>{parameter, grad, {square, changes}, rule});
}

struct RmsProp {
    T rate, alpha, added, eps, momentum;
    Penalties penalties;
    bool centered, moves;

    __device__ T operator()(T p, T g, T* state) const {
        T &square = state[0], &mean = state[1], &velocity = state[2];
        g = penalties(p, g);
        square = alpha * square + added * g * g;
        T variance = square;
        if (centered) {
            mean = alpha * mean + added * g;
            variance = square - mean * mean;
            if (variance < T(0)) variance = T(0);
        }
        T change = g / (sqrt(variance) + eps);
        if (moves) change = velocity = momentum * velocity + change;
        return p - rate * change;
    }
};

// `mean` is null unless it is centred, `velocity` without momentum.
extern "C" __global__ void __launch_bounds__(256, BLOCKS)
    rmsprop_update(T* parameter, const T* grad, T* square, T* mean, T* velocity, const double* lr,
                   const long long* step, const long long* pieces, long long count, long long n, double alpha,
                   double eps, double momentum, int centered, double decay, double l1) {
    const RmsProp rule{(T)*lr, (T)alpha, (T)(1 - alpha), (T)eps, (T)momentum, {(T)decay, (T)l1},
                       mean != nullptr, velocity != nullptr};
    update({pieces, count}, n, Update<3, RmsProp>{parameter, grad, {square, mean, velocity}, rule});
}

// Averages of the gradient and its square; full1 is 1 - beta1**t, root2 the root of 1 - beta2**t.
struct Moments {
    T beta1, beta2, new1, new2, full1, root2, eps;

    __device__ void move(T g, T& m, T& v) const {
        m = beta1 * m + new1 * g;
        v = beta2 * v + new2 * g * g;
    }
};

// The bias corrections 1 - beta**t are powers in double, so one thread of each block computes them for all.
__device__ inline Moments moments(double beta1, double beta2, double eps, long long step) {
    __shared__ double full[2];
    if (threadIdx.x == 0) {
        full[0] = 1 - pow(beta1, (double)step);
        full[1] = sqrt(1 - pow(beta2, (double)step));
    }
    __syncthreads();
    return {(T)beta1, (T)beta2, (T)(1 - beta1), (T)(1 - beta2), (T)full[0], (T)full[1], (T)eps};
}

struct Adam {
    T rate, left;
    Penalties penalties;
    Moments moments;
    bool amsgrad, decoupled;

    __device__ T operator()(T p, T g, T* state) const {
        T &m = state[0], &v = state[1], &highest = state[2];
        moments.move(penalties(p, g), m, v);
        T second = v;
        if (amsgrad) {
            if (!(second <= highest) && highest == highest) highest = second;
            second = highest;
        }
        const T shrunk = decoupled ? left * p : p;
        return shrunk - rate * ((m / moments.full1) / (sqrt(second) / moments.root2 + moments.eps));
    }
};

// `highest` is null without amsgrad.
extern "C" __global__ void __launch_bounds__(256, BLOCKS)
    adam_update(T* parameter, const T* grad, T* m, T* v, T* highest, const double* lr, const long long* step,
                const long long* pieces, long long count, long long n, double beta1, double beta2, double eps,
                double decay, int amsgrad, double l1) {
    const Moments averages = moments(beta1, beta2, eps, *step);
    const Adam rule{(T)*lr, T(1), {(T)decay, (T)l1}, averages, highest != nullptr, false};
    update({pieces, count}, n, Update<3, Adam>{parameter, grad, {m, v, highest}, rule});
}

extern "C" __global__ void __launch_bounds__(256, BLOCKS)
    adamw_update(T* parameter, const T* grad, T* m, T* v, T* highest, const double* lr, const long long* step,
                 const long long* pieces, long long count, long long n, double beta1, double beta2, double eps,
                 double decay, int amsgrad) {
    const Moments averages = moments(beta1, beta2, eps, *step);
    const Adam rule{(T)*lr, (T)(1 - *lr * decay), {T(0), T(0)}, averages, highest != nullptr, true};
    update({pieces, count}, n, Update<3, Adam>{parameter, grad, {m, v, highest}, rule});
}

struct Nadam {
    T by_gradient, by_mean, left;
    Penalties penalties;
    Moments moments;

    __device__ T operator()(T p, T g, T* state) const {
        T &m = state[0], &v = state[1];
        g = penalties(p, g);
        moments.move(g, m, v);
        return left * p - (by_gradient * g + by_mean * m) / (sqrt(v) / moments.root2 + moments.eps);
    }
};

// One thread of each block multiplies mu_1 to mu_t, as far as 1 minus the product can tell it from zero.
extern "C" __global__ void __launch_bounds__(256, BLOCKS)
    nadam_update(T* parameter, const T* grad, T* m, T* v, const double* lr, const long long* step,
                 const long long* pieces, long long count, long long n, double beta1, double beta2, double eps,
                 double decay, double momentum_decay, int decoupled, double l1) {
    __shared__ double rates[2];
    if (threadIdx.x == 0) {
        const double factor = pow(0.96, momentum_decay);
        double product = 1, power = 1;
        for (long long i = 0; i < *step && product > 1e-20; ++i) {
            power *= factor;
            product *= beta1 * (1 - 0.5 * power);
        }
        const double mu = beta1 * (1 - 0.5 * pow(0.96, *step * momentum_decay));
        const double later = beta1 * (1 - 0.5 * pow(0.96, (*step + 1) * momentum_decay));
        rates[0] = *lr * (1 - mu) / (1 - product);
        rates[1] = *lr * later / (1 - product * later);
    }
    const Moments averages = moments(beta1, beta2, eps, *step);
    const Penalties penalties{decoupled ? T(0) : (T)decay, (T)l1};
    const Nadam rule{(T)rates[0], (T)rates[1], decoupled ? (T)(1 - *lr * decay) : T(1), penalties, averages};
    update({pieces, count}, n, Update<2, Nadam>{parameter, grad, {m, v}, rule});
}

struct Muon {
    T rate, left;

    __device__ T operator()(T p, T g, T*) const { return left * p - rate * g; }
};

extern "C" __global__ void __launch_bounds__(256, 4)
    muon_update(T* parameter, const T* grad, const double* lr, const long long* step, const long long* pieces,
                long long count, long long n, double decay) {
    const Muon rule{(T)*lr, (T)(1 - *lr * decay)};
    update({pieces, count}, n, Update<1, Muon>{parameter, grad, {nullptr}, rule});
}

struct MuonMomentum {
    T momentum, added;
    bool nesterov;

    __device__ T operator()(T, T g, T* state) const {
        T& average = *state;
        average += added * (g - average);
        return nesterov ? g + momentum * (average - g) : average;
    }
};

extern "C" __global__ void __launch_bounds__(256, 4)
    muon_momentum_update(T* parameter, const T* grad, T* average, const double* lr, const long long* step,
                         const long long* pieces, long long count, long long n, double momentum, int nesterov) {
    const MuonMomentum rule{(T)momentum, (T)(1 - momentum), nesterov != 0};
    update({pieces, count}, n, Update<1, MuonMomentum>{parameter, grad, {average}, rule});
}

struct Lookahead {
    T share;

    __device__ T operator()(T p, T, T* state) const {
        T& slow = *state;
        slow += share * (p - slow);
        return slow;
    }
};

extern "C" __global__ void __launch_bounds__(256, 4)
    lookahead_update(T* parameter, const T* grad, T* slow, const double* lr, const long long* step,
                     const long long* pieces, long long count, long long n, double k, double alpha) {
    if (*step % (long long)k) return;
    update({pieces, count}, n, Update<1, Lookahead>{parameter, grad, {slow}, Lookahead{(T)alpha}});
}

struct Average {
    T share;

    __device__ T operator()(T p, T g, T*) const { return p + share * (g - p); }
};

extern "C" __global__ void __launch_bounds__(256, 4)
    ema_update(T* parameter, const T* grad, const double* lr, const long long* step, const long long* pieces,
               long long count, long long n, double decay, int warmup) {
    const double t = (double)*step, early = (1 + t) / (10 + t);
    const Average rule{(T)(1 - (warmup && early < decay ? early : decay))};
    update({pieces, count}, n, Update<1, Average>{parameter, grad, {nullptr}, rule});
}

struct Mask {
    __device__ T operator()(T p, T g, T*) const { return g > T(0) ? p : T(0); }
};

extern "C" __global__ void __launch_bounds__(256, 4)
    mask_update(T* parameter, const T* grad, const double* lr, const long long* step, const long long* pieces,
                long long count, long long n) {
    update({pieces, count}, n, Update<1, Mask>{parameter, grad, {nullptr}, Mask{}});
}
