"""How long every network of the page on roads takes for an image, on one thread.

    python tests/benchmarks/bench_roads.py

Saves what it finds as mnist_steps/records/benchmarks/roads.json, which the page shows. On a
machine that does nothing else, after `mnist-steps study --of roads`.
"""

from mnist_steps.experiments.roads import timing

if __name__ == "__main__":
    times = timing.measure()
    for name, one in sorted(times.networks.items(), key=lambda item: item[1].in_a_batch):
        print(f"{name:40} alone {one.alone:9.1f} µs   in a batch {one.in_a_batch:9.1f} µs")
    timing.save(times)
