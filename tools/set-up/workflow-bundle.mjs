// Makes dist/workflow-bundle.js, the one file that a worker loads its workflows from: without it every worker would make
// its own at each start. Run by tools/setup after compiling; it needs the packages.
import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { bundleWorkflowCode } from '@temporalio/worker';

const { code } = await bundleWorkflowCode({
  workflowsPath: resolve('dist/workflows/index.js'),
  failureConverterPath: resolve('dist/temporal/failure-converter.js'),
});
writeFileSync('dist/workflow-bundle.js', code);
