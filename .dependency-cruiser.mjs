// Import rules: who may import whom, as docs/architecture.md says it. One table; every rule below is made from it.
// A folder that is not in the table may not be imported by product code, and cycles are errors everywhere.

const nodeBuiltin = '^(node:)?[a-z_/]+$';
const anyPackage = '^node_modules/';
/** @param {string[]} names */
const pkg = (...names) => names.map((name) => `^node_modules/(@types/)?${name}(/|$)`);

/** folder -> what it may import: folders of ours, packages, `node` for the built-in modules. */
const table = {
  core: { folders: [], packages: [], node: false },
  contracts: { folders: ['core'], packages: pkg('zod'), node: false },
  temporal: { folders: ['core', 'contracts'], packages: pkg('@temporalio/.+', 'protobufjs', 'long'), node: true },
  workflows: { folders: ['core', 'contracts', 'temporal'], packages: pkg('@temporalio/workflow'), node: false },
  activities: {
    folders: ['core', 'contracts', 'temporal', 'db', 'vsphere', 'dataplane/client', 'dataplane/iso'],
    packages: [anyPackage],
    node: true,
  },
  db: { folders: ['core', 'generated'], packages: pkg('@prisma/.+', 'pg', 'uuid'), node: true },
  vsphere: { folders: ['core'], packages: [anyPackage], node: true },
  'dataplane/client': { folders: ['core', 'contracts'], packages: [anyPackage], node: true },
  'dataplane/iso': { folders: ['core', 'contracts'], packages: [anyPackage], node: true },
  api: {
    folders: ['core', 'contracts', 'temporal', 'db', 'workflows', 'dataplane/client', 'vsphere'],
    packages: [anyPackage],
    node: true,
  },
  cli: { folders: ['contracts'], packages: pkg('commander', 'undici', 'zod'), node: true },
};

const folderRules = Object.entries(table).flatMap(([folder, may]) => {
  const ours = `^(${Object.keys(table).concat('workers', 'generated', 'demo', 'tools', 'lab', 'test', 'ui').join('|')})/`;
  const from = { path: `^${folder}/`, pathNot: '\\.test\\.ts$' };
  /** @type {{ name: string, comment: string, severity: string, from: object, to: object }[]} */
  const rules = [
    {
      name: `${folder.replaceAll('/', '-')}-folders`,
      comment: `${folder}/ may import only: ${may.folders.join(', ') || 'nothing of ours'}`,
      severity: 'error',
      from,
      to: { path: ours, pathNot: `^(${[folder, ...may.folders].join('|')})/` },
    },
    {
      name: `${folder.replaceAll('/', '-')}-packages`,
      comment: `${folder}/ uses a package that is not its to use`,
      severity: 'error',
      from,
      to: { path: anyPackage, ...(may.packages.length > 0 ? { pathNot: may.packages } : {}) },
    },
  ];
  if (!may.node) {
    rules.push({
      name: `${folder.replaceAll('/', '-')}-no-node`,
      comment: `${folder}/ runs without Node`,
      severity: 'error',
      from,
      to: { path: nodeBuiltin, dependencyTypes: ['core'] },
    });
  }
  return rules;
});

export default {
  forbidden: [
    ...folderRules,
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'cli-starts-workers-as-processes',
      comment: 'the command line speaks REST; entry points of workers/ are started, never imported',
      severity: 'error',
      from: { path: '^cli/' },
      to: { path: '^workers/' },
    },
    {
      name: 'product-knows-no-lab',
      comment: 'the product sees vCenters; only the demo, tests and tools know the lab',
      severity: 'error',
      from: { pathNot: '^(demo|test|tools|lab)/|\\.test\\.ts$' },
      to: { path: '^(lab|demo|test|tools)/' },
    },
    { name: 'resolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'declared-packages',
      comment: 'a package must stand in package.json, product code must not use a development one',
      severity: 'error',
      from: { pathNot: '^(demo|test|tools)/|\\.test\\.ts$|^[^/]+$|^prisma' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
    },
  ],
  options: {
    doNotFollow: { path: '^(node_modules|generated)/' },
    exclude: { path: '^(dist|build|coverage|dataplane/target)/' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    preserveSymlinks: true,
    moduleSystems: ['es6', 'cjs'],
    enhancedResolveOptions: {
      extensions: ['.ts', '.mjs', '.js', '.json'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'types', 'default'],
    },
  },
};
