/** Failures with their messages and stacks as a payload, so that the codec encrypts them as well. Loaded by path. */
import { DefaultFailureConverter } from '@temporalio/common';

export const failureConverter = new DefaultFailureConverter({ encodeCommonAttributes: true });
