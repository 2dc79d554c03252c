/** One text file as the rules of tidy see it. Only types and tiny helpers; no rules here. */

export interface Source {
  /** Relative to the checkout. */
  readonly path: string;
  readonly text: string;
}

export const isTest = (path: string): boolean => /\.test\.ts$|_test\.go$|^test\/|\/tests\//.test(path);
export const isGenerated = (path: string): boolean => /\.(gen|generated)\.\w+$/.test(path);
