# %% [markdown]
# # 4. One kind of layer ends the standstill: what does it do to a channel?

# %% tags=["hide-input"]
from mnist_steps import figures, pages, runs, stages, summary
from mnist_steps.markup import Text

stage, before = stages.get(4), stages.get(3)
figures.batch_norm_histograms()

# %% [markdown]
# One channel, one batch of digits: how often each value occurs, before and behind
# **batch normalization**. Drag through the steps of the training. What comes in
# wanders; what goes out stays where the next layer can use it.
#
# **You will be able to**
#
# - write the formula with its two learnt numbers, and check it against PyTorch;
# - say what is different once training is over;
# - say what a small batch does, and when a batch of one fails.
#
# You need the fading signal of [stage 3](03_lighter.py).
#
# ## The idea
#
# ### Measure, shift, scale
#
# Take all values of one channel: from every image of the batch, at every place. Their
# mean is $\mu$, their variance $\sigma^2$. Subtract the one, divide by the root of the
# other, and the channel has mean zero and variance one. Then let the network choose
# where it wants it, by two numbers per channel that are learnt, $\gamma$ and $\beta$:
#
# $$y = \gamma\,\frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta$$
#
# $\varepsilon$ is tiny, and only there so that nothing is ever divided by zero.

# %%
import torch
from torch import nn

torch.manual_seed(0)
x = 5 + 0.01 * torch.randn(32, 12, 8, 8)  # 12 channels: far from zero, and faint
mean = x.mean(dim=(0, 2, 3), keepdim=True)  # over images and places: one a channel
variance = x.var(dim=(0, 2, 3), unbiased=False, keepdim=True)
by_hand = (x - mean) / (variance + 1e-5).sqrt()

layer = nn.BatchNorm2d(12)  # starts with gamma = 1, beta = 0
assert torch.allclose(layer(x), by_hand, atol=1e-3)
print(f"spread {x.std():.3f} -> {layer(x).std():.3f}")

# %% [markdown]
# So a signal cannot fade any more: whatever a layer leaves of it, the next
# normalization restores it. And a gradient on its way back is divided by the same root.

# %% tags=["hide-input"]
figures.signal([before, stage])

# %% [markdown]
# ### In training, in evaluation
#
# In training, what becomes of a digit depends on the other digits in its batch: a
# little noise, which is larger for small batches. In **evaluation** it must not. There
# the layer uses constants: averages of $\mu$ and $\sigma^2$ that it has kept on the way,
# a tenth of the new, nine tenths of the old. That is what `model.train()` and
# `model.eval()` switch.

# %%
for _ in range(100):
    layer(x)  # in training mode, the averages move
layer.eval()
print("alone:", layer(x[:1])[0, 0, 0, 0].item(), " in company:", layer(x)[0, 0, 0, 0].item())

# %% [markdown]
# ## The change

# %% tags=["hide-input"]
figures.network_change(before, stage)

# %%
