/** The kernel's monotonic clock, which all processes of this machine share. @returns ms */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
