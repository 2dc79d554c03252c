/** The stages of `npm test`, as data, quick ones first. How one is run and counted stands in run-stage.ts. */

/** How a stage's output says how many tests ran; a stage without tests of its own counts as one. */
export type Count = 'one' | 'vitest' | 'cargo' | 'go';

export interface Stage {
  readonly name: string;
  readonly commands: readonly (readonly [program: string, ...args: string[]])[];
  readonly cwd?: string;
  readonly count: Count;
  readonly minutesMax: number;
  readonly env?: Readonly<Record<string, string>>;
  /** Runs beside the stage before it: both wait more than they work. */
  readonly besideLast?: boolean;
}

const bin = (name: string): string => `node_modules/.bin/${name}`;
const offlinePrisma = { PRISMA_SCHEMA_ENGINE_BINARY: '/bin/true', CHECKPOINT_DISABLE: '1' };

function vitest(name: string, minutesMax: number, env: Readonly<Record<string, string>> = {}): Stage {
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=build/logs/test-${name}.json`];
  return {
    name,
    commands: [[bin('vitest'), 'run', '--project', name, ...reporters]],
    count: 'vitest',
    minutesMax,
    env,
  };
}

/** At a lower priority, because the tests beside it are about what a guest feels. */
function besideLast(stage: Stage): Stage {
  return { ...stage, besideLast: true, commands: stage.commands.map((command) => ['nice', '-n', '10', ...command]) };
}

export const stages: readonly Stage[] = [
  {
    name: 'format',
    commands: [[bin('prettier'), '--check', '--log-level', 'warn', '.']],
    count: 'one',
    minutesMax: 3,
  },
  { name: 'tidy', commands: [[bin('tsx'), 'tools/tidy.ts']], count: 'one', minutesMax: 3 },
  {
    name: 'imports',
    commands: [[bin('depcruise'), '--config', '.dependency-cruiser.mjs', '--output-type', 'err', '.']],
    count: 'one',
    minutesMax: 3,
  },
  {
    name: 'types',
    commands: [
      [bin('tsc'), '-p', 'tsconfig.json'],
      [bin('tsc'), '-p', 'tsconfig.pure.json'],
    ],
    count: 'one',
    minutesMax: 5,
  },
  { name: 'lint', commands: [[bin('eslint'), '.']], count: 'one', minutesMax: 5 },
  {
    name: 'vsphere-types',
    commands: [['npm', 'run', '--silent', 'check:vsphere-types']],
    count: 'one',
    minutesMax: 3,
  },
  vitest('unit', 10),
  {
    name: 'database',
    commands: [
      [bin('prisma'), 'validate'],
      [bin('tsx'), 'tools/schema-dump.ts'],
    ],
    count: 'one',
    minutesMax: 3,
    env: { ...offlinePrisma, DATABASE_URL: '' },
  },
  { name: 'documents', commands: [[bin('tsx'), 'tools/documents.ts']], count: 'one', minutesMax: 3 },
  {
    name: 'rust-format',
    commands: [['cargo', 'fmt', '--all', '--check']],
    cwd: 'dataplane',
    count: 'one',
    minutesMax: 3,
  },
  {
    name: 'rust-lint',
    commands: [['cargo', 'clippy', '--locked', '--workspace', '--all-targets', '--', '-D', 'warnings']],
    cwd: 'dataplane',
    count: 'one',
    minutesMax: 15,
  },
  {
    name: 'rust-build',
    commands: [['cargo', 'test', '--locked', '--workspace', '--no-run']],
    cwd: 'dataplane',
    count: 'one',
    minutesMax: 20,
  },
  {
    name: 'rust-test',
    commands: [['cargo', 'test', '--locked', '--workspace', '--no-fail-fast']],
    cwd: 'dataplane',
    count: 'cargo',
    minutesMax: 20,
  },
  besideLast(vitest('integration', 20)),
  {
    name: 'go-format',
    commands: [['sh', '-c', 'unformatted=$(gofmt -l .); echo "$unformatted"; test -z "$unformatted"']],
    cwd: 'lab',
    count: 'one',
    minutesMax: 3,
  },
  { name: 'go-vet', commands: [['go', 'vet', './...']], cwd: 'lab', count: 'one', minutesMax: 10 },
  { name: 'go-test', commands: [['go', 'test', '-v', './...']], cwd: 'lab', count: 'go', minutesMax: 15 },
  vitest('steps', 20),
  vitest('e2e', 25),
  vitest('faults', 25, {
    LANDFALL_FAULT_RUNS: process.env['LANDFALL_FAULT_RUNS'] ?? '2',
    LANDFALL_GROUP_RUNS: process.env['LANDFALL_GROUP_RUNS'] ?? '1',
  }),
];

/** What runs at once, in order. */
export function inTurns(chosen: readonly Stage[]): readonly (readonly Stage[])[] {
  const turns: Stage[][] = [];
  for (const stage of chosen) {
    const last = turns.at(-1);
    if (stage.besideLast === true && last !== undefined) last.push(stage);
    else turns.push([stage]);
  }
  return turns;
}
