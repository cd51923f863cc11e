/**
 * How it is measured: CPU time of the whole process (threads of a pool and of the compiler too), the contenders one after the other in each pass
 * and in the reverse order in the next, and the lowest of the passes. Other programs of the machine then cost passes, not truth.
 */
import { dataOf } from './rivals.mjs';

export const SIZES = [300, 1024, 2800];
export const OPERATIONS = ['open', 'seal'];

/** Thorough, or just enough to know that everything runs. `budget` is the CPU time of one measurement in microseconds. */
export const effort = (smoke) => (smoke ? { passes: 1, budget: 2_000, sizes: [300] } : { passes: 5, budget: 60_000, sizes: SIZES });

/** What a contender does, prepared: `run(operation, size, count)` does it `count` times in a row. */
export async function contender(make) {
  const { seal, open, sent = (value) => value } = await make();
  const samples = new Map();
  const sample = async (size) => {
    const data = dataOf(size);
    const value = sent(await seal(data));
    const opened = await open(value);
    if (JSON.stringify(opened) !== JSON.stringify(data)) throw new Error('what was opened is not what was sealed');
    samples.set(size, { data, value });
    return samples.get(size);
  };
  const steps = {
    open: async (count, { value }) => {
      for (let i = 0; i < count; i++) await open(value);
    },
    seal: async (count, { data }) => {
      for (let i = 0; i < count; i++) await seal(data);
    },
  };
  return async (operation, size, count) => steps[operation](count, samples.get(size) ?? (await sample(size)));
}

/**
 * Measures `names` against each other.
 *
 * @param time `(name, operation, size, count)` -> CPU microseconds of so many operations.
 * @returns `{ name, operation, size, lowest, median }[]`, microseconds an operation.
 */
export async function compare(names, time, { passes, budget, sizes }) {
  const results = [];
  for (const operation of OPERATIONS) {
    for (const size of sizes) {
      const counts = new Map();
      // Warms up too: as many operations as fill the budget.
      for (const name of names) counts.set(name, await calibrate((count) => time(name, operation, size, count), budget));
      const measured = new Map(names.map((name) => [name, []]));
      for (let pass = 0; pass < passes; pass++) {
        for (const name of pass % 2 === 0 ? names : names.toReversed()) {
          const count = counts.get(name);
          measured.get(name).push((await time(name, operation, size, count)) / count);
        }
      }
      for (const [name, values] of measured) {
        values.sort((a, b) => a - b);
        results.push({ name, operation, size, lowest: values[0], median: values[values.length >> 1] });
      }
    }
  }
  return results;
}

async function calibrate(time, budget) {
  for (let count = 1; ; ) {
    const micros = await time(count);
    if (micros >= budget / 2) return Math.max(1, Math.ceil((count * budget) / micros));
    // Clocks of processes may tick in hundredths of a second.
    count *= micros > budget / 20 ? Math.ceil(budget / micros) : 8;
  }
}
