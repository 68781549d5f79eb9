/** Waiting no longer than is useful. */

/** @returns what the promise brings, or `otherwise` where it takes longer; a failure in time is thrown */
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
