// Importance weights in log space: their mean, its standard error and the effective sample size.

/** The sums of weights and of their squares, relative to the largest weight, as samples come. */
export class WeightSums {
  constructor() {
    this.count = 0;
    this.largest = -Infinity;
    this.sum = 0;
    this.sumOfSquares = 0;
  }

  add(logWeights) {
    for (const logWeight of logWeights) {
      if (logWeight > this.largest) {
        const factor = Math.exp(this.largest - logWeight);
        this.sum *= factor;
        this.sumOfSquares *= factor * factor;
        this.largest = logWeight;
      }
      const weight = Math.exp(logWeight - this.largest);
      this.sum += weight;
      this.sumOfSquares += weight * weight;
      this.count += 1;
    }
    return this;
  }

  /**
   * The logarithm of the mean weight in nats, its standard error by the delta method (infinite for
   * one sample), and how many equal weights would tell as much.
   */
  result() {
    const effectiveSampleSize = (this.sum * this.sum) / this.sumOfSquares;
    const relativeVariance = (this.count / effectiveSampleSize - 1) / (this.count - 1);
    return {
      estimate: this.largest + Math.log(this.sum / this.count),
      standardError: this.count > 1 ? Math.sqrt(Math.max(relativeVariance, 0)) : Infinity,
      effectiveSampleSize,
    };
  }
}

/** The mean of numbers and its standard error, infinite for one number. */
export function meanAndStandardError(numbers) {
  const mean = numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
  const squares = numbers.reduce((sum, number) => sum + (number - mean) ** 2, 0);
  const standardError =
    numbers.length > 1 ? Math.sqrt(squares / (numbers.length - 1) / numbers.length) : Infinity;
  return { mean, standardError };
}

/** log(sum of exp) of numbers. */
export function logSumExp(numbers) {
  const largest = numbers.reduce((a, b) => Math.max(a, b), -Infinity);
  if (largest === -Infinity) return largest;
  return largest + Math.log(numbers.reduce((sum, number) => sum + Math.exp(number - largest), 0));
}
