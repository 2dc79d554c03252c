/** Lists files past 500 lines and functions past 70: perhaps two jobs in one. For a look only; nothing fails on length. */
import ts from 'typescript';
import { isGenerated, isTest, type Source } from './source.ts';

const fileLinesMax = 500;
const functionLinesMax = 70;

function longInTypeScript({ path, text }: Source): string[] {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node) && 'body' in node && node.body) {
      const from = file.getLineAndCharacterOfPosition(node.getStart()).line;
      const lines = file.getLineAndCharacterOfPosition(node.getEnd()).line - from + 1;
      if (lines > functionLinesMax) found.push(`${path}:${from + 1}: a function of ${lines} lines`);
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

/** Formatted Rust and Go close a function with a brace at the indentation of its first line. */
function longInBraces({ path, text }: Source): string[] {
  const lines = text.split('\n');
  return lines.flatMap((line, start) => {
    const head = /^(\s*)(pub(\(\w+\))? )?(const |async |unsafe )*(fn|func) /.exec(line);
    if (!head || line.endsWith(';') || line.endsWith('}')) return [];
    const end = lines.indexOf(`${head[1] ?? ''}}`, start);
    const length = end - start + 1;
    return length > functionLinesMax ? [`${path}:${start + 1}: a function of ${length} lines`] : [];
  });
}

export function longThings(all: readonly Source[]): string[] {
  return all
    .filter(({ path }) => /\.(ts|mjs|rs|go|sh)$/.test(path) && !isGenerated(path))
    .flatMap((source) => {
      const lines = source.text.split('\n').length;
      const file = lines > fileLinesMax ? [`${source.path}: ${lines} lines`] : [];
      if (isTest(source.path)) return file;
      return [...file, ...(/\.(ts|mjs)$/.test(source.path) ? longInTypeScript(source) : longInBraces(source))];
    });
}
