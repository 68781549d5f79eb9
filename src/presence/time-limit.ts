/** Limits the time for which a caller waits. */

/** @returns the result of the promise, or `otherwise` if it takes longer than `limitMs`; throws a failure in time */
export function withinTime<Result, Otherwise>(
  promise: Promise<Result>,
  limitMs: number,
  otherwise: Otherwise,
): Promise<Result | Otherwise> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(otherwise), limitMs)
    promise.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
