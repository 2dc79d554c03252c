// Compares version numbers by their parts; what is not a number counts as nothing.

/** Whether the first version is older than the second; missing parts are 0. */
export function isOlder(first: string, second: string): boolean {
  const [one, other] = [first, second].map((text) => text.split('.').map((part) => Number.parseInt(part, 10) || 0));
  if (one === undefined || other === undefined) return false;
  for (let index = 0; index < Math.max(one.length, other.length); index += 1) {
    const difference = (one[index] ?? 0) - (other[index] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}
