/** The monotonic clock of the machine, which all processes share: that of `performance` begins with its process. */
export function systemMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
