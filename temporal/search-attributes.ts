/**
 * Search attributes of our workflows, for operators in the Temporal UI. They are never encrypted: ids and
 * words of ours only, no names of VMs and no text of a vCenter. Whoever starts a server registers all of `searchAttributes` before the first workflow.
 */
import { defineSearchAttributeKey } from '@temporalio/common';

export const migSite = defineSearchAttributeKey('MigSite', 'KEYWORD');
export const migGroup = defineSearchAttributeKey('MigGroup', 'KEYWORD');

/** `config.instanceUuid` of the VM; its name stands in the current details, which are encrypted. */
export const migVm = defineSearchAttributeKey('MigVm', 'KEYWORD');
export const migPhase = defineSearchAttributeKey('MigPhase', 'KEYWORD');
export const migNeedsOperator = defineSearchAttributeKey('MigNeedsOperator', 'BOOL');

/** What it waits for, in words of ours, without names. */
export const migWaitsFor = defineSearchAttributeKey('MigWaitsFor', 'KEYWORD');

export const searchAttributes = [migSite, migGroup, migVm, migPhase, migNeedsOperator, migWaitsFor] as const;
