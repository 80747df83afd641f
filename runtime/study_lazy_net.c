// The residual MLP: h <- h + m_L^-alpha W2 relu(W1 h) for each block, linear input and output layers, cross
// entropy. Activations are [feature][batch], so that every inner loop runs over the batch in one order:
// any number of threads gives the same bytes.
#include "runtime/study_lazy.h"

#include "base/file.h"
#include "base/random.h"

#include <math.h>
#include <string.h>

struct lazy_net {
  const lazy_options *o;
  u32 inputs, layers_max, threads;
  float *in, *out;    // [width][inputs], [classes][width]
  float *w1, *w2;     // [layer][width][width]
  float *x;           // [inputs][batch]
  u32 *labels;        // [batch]
  float *stream;      // [layers + 1][width][batch]
  float *hidden;      // [layers][width][batch], after the ReLU
  float *grad, *back, *logits; // [width][batch] twice, [classes][batch]
};

// Streams of random numbers of one seed.
enum { STREAM_IN, STREAM_OUT, STREAM_X, STREAM_LABEL, STREAM_WEIGHTS };

static void draw(float *w, u64 count, double std, u64 seed, u32 stream, u32 threads) {
#pragma omp parallel for schedule(static) num_threads((int)threads) if (count > 4096)
  for (i64 i = 0; i < (i64)count; i++) w[i] = (float)(std * random_normal(seed, RANDOM_INIT, stream, (u64)i));
}

// y (+)= scale W x, W [out][in].
typedef struct product {
  const float *w, *x;
  float *y;
  u32 out, in, batch, threads;
  float scale;
} product;

// A batch of this many at a time: the sums stay in registers. What is over is done one by one.
enum { BATCH_BLOCK = 16 };

static void multiply_row(const product *p, u32 o, u32 from, u32 n) {
  float sum[BATCH_BLOCK] = {0};
  const float *w = p->w + (size_t)o * p->in;
  if (n == BATCH_BLOCK) {
    for (u32 i = 0; i < p->in; i++)
      for (u32 b = 0; b < BATCH_BLOCK; b++) sum[b] += w[i] * p->x[(size_t)i * p->batch + from + b];
  } else {
    for (u32 i = 0; i < p->in; i++)
      for (u32 b = 0; b < n; b++) sum[b] += w[i] * p->x[(size_t)i * p->batch + from + b];
  }
  for (u32 b = 0; b < n; b++) p->y[(size_t)o * p->batch + from + b] += p->scale * sum[b];
}

static void multiply(const product *p) {
#pragma omp parallel for schedule(static) num_threads((int)p->threads) if ((u64)p->out * p->in > 4096)
  for (u32 o = 0; o < p->out; o++)
    for (u32 from = 0; from < p->batch; from += BATCH_BLOCK)
      multiply_row(p, o, from, p->batch - from < BATCH_BLOCK ? p->batch - from : BATCH_BLOCK);
}

// y += scale W^T x, W [in][out] as stored: blocks of rows of y stay near while the weights pass.
enum { ROW_BLOCK = 16 };
static void multiply_transposed(const product *p) {
  const u32 blocks = (p->out + ROW_BLOCK - 1) / ROW_BLOCK;
#pragma omp parallel for schedule(static) num_threads((int)p->threads) if ((u64)p->out * p->in > 4096)
  for (u32 k = 0; k < blocks; k++) {
    const u32 end = (k + 1) * ROW_BLOCK < p->out ? (k + 1) * ROW_BLOCK : p->out;
    for (u32 i = 0; i < p->in; i++)
      for (u32 o = k * ROW_BLOCK; o < end; o++) {
        const float w = p->scale * p->w[(size_t)i * p->out + o];
        const float *x = p->x + (size_t)i * p->batch;
        float *y = p->y + (size_t)o * p->batch;
        for (u32 b = 0; b < p->batch; b++) y[b] += w * x[b];
      }
  }
}

// ---- inputs

static u32 big_endian(const u8 *p) {
  return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3];
}

// Images a seed takes begin at a place of its own.
static bool read_images(lazy_net *n, u64 seed, arena *a, status *st) {
  const lazy_options *o = n->o;
  char *images, *labels;
  size_t size, label_size;
  if (!file_read(o->images, a, &images, &size, st) || !file_read(o->labels, a, &labels, &label_size, st)) return false;
  const u8 *p = (const u8 *)images, *q = (const u8 *)labels;
  if (size < 16 || big_endian(p) != 0x803) return status_fail(st, CODE_DATA, "%s: is no idx3-ubyte file", o->images);
  if (label_size < 8 || big_endian(q) != 0x801) return status_fail(st, CODE_DATA, "%s: is no idx1-ubyte file", o->labels);
  const u64 count = big_endian(p + 4), pixels = (u64)big_endian(p + 8) * big_endian(p + 12);
  if (size != 16 + count * pixels || label_size != 8 + count || count < o->batch || pixels > 1u << 20 || !pixels)
    return status_fail(st, CODE_DATA, "%s: does not hold the images that its head states, or fewer than a batch", o->images);
  n->inputs = (u32)pixels;
  n->x = arena_array(a, float, pixels * o->batch);
  const u64 first = random_below(seed, RANDOM_BATCH, STREAM_X, 0, count - o->batch + 1);
  for (u32 b = 0; b < o->batch; b++) {
    n->labels[b] = q[8 + first + b] % o->classes;
    for (u64 i = 0; i < pixels; i++)
      n->x[i * o->batch + b] = ((float)p[16 + (first + b) * pixels + i] / 255 - 0.1307f) / 0.3081f;
  }
  return true;
}

static bool take_inputs(lazy_net *n, u64 seed, arena *a, status *st) {
  const lazy_options *o = n->o;
  n->labels = arena_array(a, u32, o->batch);
  if (o->images[0]) return read_images(n, seed, a, st);
  n->inputs = o->inputs;
  n->x = arena_array(a, float, (u64)o->inputs * o->batch);
  draw(n->x, (u64)o->inputs * o->batch, 1, seed, STREAM_X, n->threads);
  for (u32 b = 0; b < o->batch; b++) n->labels[b] = (u32)random_below(seed, RANDOM_BATCH, STREAM_LABEL, b, o->classes);
  return true;
}

lazy_net *lazy_net_create(const lazy_options *o, u64 seed, u32 layers_max, u32 threads, arena *a, status *st) {
  lazy_net *n = arena_array(a, lazy_net, 1);
  *n = (lazy_net){.o = o, .layers_max = layers_max, .threads = threads};
  if (!take_inputs(n, seed, a, st)) return NULL;
  const u64 square = (u64)o->width * o->width, act = (u64)o->width * o->batch;
  n->in = arena_take_big(a, (u64)o->width * n->inputs * sizeof(float), "input weights", st);
  n->out = arena_take_big(a, (u64)o->width * o->classes * sizeof(float), "output weights", st);
  n->w1 = arena_take_big(a, 2 * layers_max * square * sizeof(float), "weights of the blocks", st);
  n->stream = arena_take_big(a, (2ull * layers_max + 3) * act * sizeof(float), "activations", st);
  n->logits = arena_take_big(a, (u64)o->classes * o->batch * sizeof(float), "logits", st);
  if (!n->in || !n->out || !n->w1 || !n->stream || !n->logits) return NULL;
  n->w2 = n->w1 + layers_max * square;
  n->hidden = n->stream + (layers_max + 1) * act;
  n->grad = n->hidden + layers_max * act;
  n->back = n->grad + act;
  draw(n->in, (u64)o->width * n->inputs, 1 / sqrt(n->inputs), seed, STREAM_IN, threads);
  draw(n->out, (u64)o->width * o->classes, 1 / sqrt(o->width), seed, STREAM_OUT, threads);
  for (u32 l = 0; l < layers_max; l++) {
    draw(n->w1 + l * square, square, sqrt(o->gain / o->width), seed, STREAM_WEIGHTS + 2 * l, threads);
    draw(n->w2 + l * square, square, sqrt(1.0 / o->width), seed, STREAM_WEIGHTS + 2 * l + 1, threads);
  }
  return n;
}

// ---- forward and backward

static void forward(const lazy_net *n, u32 layers, float branch) {
  const u32 width = n->o->width, batch = n->o->batch;
  const size_t act = (size_t)width * batch, square = (size_t)width * width;
  memset(n->stream, 0, act * sizeof(float));
  multiply(&(product){n->in, n->x, n->stream, width, n->inputs, batch, n->threads, 1});
  for (u32 l = 0; l < layers; l++) {
    const float *x = n->stream + l * act;
    float *h = n->hidden + l * act, *y = n->stream + (l + 1) * act;
    memset(h, 0, act * sizeof(float));
    multiply(&(product){n->w1 + l * square, x, h, width, width, batch, n->threads, 1});
    for (size_t i = 0; i < act; i++) h[i] = h[i] > 0 ? h[i] : 0;
    memcpy(y, x, act * sizeof(float));
    multiply(&(product){n->w2 + l * square, h, y, width, width, batch, n->threads, branch});
  }
}

// Gradient of the mean cross entropy in the last stream, into grad.
static void head_gradient(const lazy_net *n, u32 layers) {
  const u32 width = n->o->width, batch = n->o->batch, classes = n->o->classes;
  const size_t act = (size_t)width * batch;
  memset(n->logits, 0, (size_t)classes * batch * sizeof(float));
  multiply(&(product){n->out, n->stream + layers * act, n->logits, classes, width, batch, n->threads, 1});
  for (u32 b = 0; b < batch; b++) {
    float most = n->logits[b];
    double sum = 0;
    for (u32 c = 1; c < classes; c++) most = fmaxf(most, n->logits[c * batch + b]);
    for (u32 c = 0; c < classes; c++) sum += exp((double)n->logits[c * batch + b] - (double)most);
    for (u32 c = 0; c < classes; c++) {
      const double p = exp((double)n->logits[c * batch + b] - (double)most) / sum;
      n->logits[c * batch + b] = (float)((p - (c == n->labels[b])) / batch);
    }
  }
  memset(n->grad, 0, act * sizeof(float));
  multiply_transposed(&(product){n->out, n->logits, n->grad, width, classes, batch, n->threads, 1});
}

// Gradient in the first block's hidden activations before the ReLU, into back.
static void backward(const lazy_net *n, u32 layers, float branch) {
  const u32 width = n->o->width, batch = n->o->batch;
  const size_t act = (size_t)width * batch, square = (size_t)width * width;
  head_gradient(n, layers);
  for (u32 l = layers; l-- > 0;) {
    const float *h = n->hidden + l * act;
    memset(n->back, 0, act * sizeof(float));
    multiply_transposed(&(product){n->w2 + l * square, n->grad, n->back, width, width, batch, n->threads, branch});
    for (size_t i = 0; i < act; i++) n->back[i] = h[i] > 0 ? n->back[i] : 0;
    if (l) multiply_transposed(&(product){n->w1 + l * square, n->back, n->grad, width, width, batch, n->threads, 1});
  }
}

// ---- the metric, in double: h of the first block for one input, at the three weights

typedef struct moved {
  double error, moved, size; // sums of |h - h_lin|, |h_lin - h_0|, |h_lin| over outputs and batch
} moved;

static void add_input(const lazy_net *n, const float *step, u32 b, double *room, moved *to) {
  const u32 width = n->o->width, batch = n->o->batch;
  double *before = room, *linear = room + width, *after = room + 2 * width;
  for (u32 i = 0; i < width; i++) {
    double z = 0, dz = 0;
    for (u32 k = 0; k < width; k++) {
      const double x = n->stream[(size_t)k * batch + b];
      z += (double)n->w1[(size_t)i * width + k] * x;
      dz += (double)step[(size_t)i * width + k] * x;
    }
    before[i] = z > 0 ? z : 0;
    linear[i] = before[i] + (z > 0 ? dz : 0);
    after[i] = z + dz > 0 ? z + dz : 0;
  }
  for (u32 o = 0; o < width; o++) {
    double h0 = 0, lin = 0, h = 0;
    for (u32 i = 0; i < width; i++) {
      const double w = n->w2[(size_t)o * width + i];
      h0 += w * before[i];
      lin += w * linear[i];
      h += w * after[i];
    }
    to->error += fabs(h - lin);
    to->moved += fabs(lin - h0);
    to->size += fabs(lin);
  }
}

lazy_value lazy_net_measure(const lazy_net *n, u32 layers, double alpha) {
  require(layers > 0 && layers <= n->layers_max);
  const u32 width = n->o->width, batch = n->o->batch;
  const double m = (double)layers / n->o->base_layers, rate = n->o->lr * pow(m, alpha - 1);
  forward(n, layers, (float)pow(m, -alpha));
  backward(n, layers, (float)pow(m, -alpha));
  arena *a = arena_create("lazy");
  float *step = arena_array(a, float, (size_t)width * width);
  double square = 0;
  for (u32 i = 0; i < width; i++)
    for (u32 k = 0; k < width; k++) {
      double g = 0; // the first Adam step is the sign of the gradient
      for (u32 b = 0; b < batch; b++) g += (double)n->back[(size_t)i * batch + b] * n->stream[(size_t)k * batch + b];
      step[(size_t)i * width + k] = (float)(-rate * ((g > 0) - (g < 0)));
      square += g != 0 ? rate * rate : 0;
    }
  moved sum = {0};
  double *room = arena_array(a, double, 3 * width);
  for (u32 b = 0; b < batch; b++) add_input(n, step, b, room, &sum);
  arena_destroy(a);
  return (lazy_value){sum.error / sum.moved, sum.error / sum.size, sqrt(square)};
}
