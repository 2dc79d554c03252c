/**
 * Every stable error code of the product, as data: what it is called, whether trying again helps, which
 * HTTP status it becomes, and what a person can do about it. Documents list this table; nothing else
 * invents codes. It must hold no logic and no text that depends on a request.
 */

/** Whether trying again helps: by itself, never, or after a person has done something. */
export type RetryClass = 'retryable' | 'permanent' | 'needs-operator';

interface CodeEntry {
  readonly title: string;
  readonly retry: RetryClass;
  readonly httpStatus: number;
  readonly remedy: string;
}

export const errorCodes = {
  // Requests
  INVALID_INPUT: entry('The request is not valid', 'permanent', 400, 'Correct the fields that the message names.'),
  UNAUTHENTICATED: entry(
    'No valid token was sent',
    'permanent',
    401,
    'Send "Authorization: Bearer TOKEN"; make a token with "landfall token create".',
  ),
  FORBIDDEN: entry(
    'The token lacks the scope for this',
    'permanent',
    403,
    'Use a token with the scope that the message names.',
  ),
  NOT_FOUND: entry('There is no such thing', 'permanent', 404, 'Check the id; list what exists first.'),
  CONFLICT: entry(
    'The present state does not allow this',
    'permanent',
    409,
    'Look at the present state and decide again.',
  ),
  IDEMPOTENCY_KEY_REUSED: entry(
    'The idempotency key was used for another request',
    'permanent',
    409,
    'Use a new Idempotency-Key for a new request.',
  ),
  IDEMPOTENCY_KEY_BUSY: entry(
    'A request with this idempotency key is being answered',
    'retryable',
    409,
    'Wait a moment and send the same request with the same key again.',
  ),
  ANSWER_WITHHELD: entry(
    'The first answer held a secret and cannot be repeated',
    'permanent',
    409,
    'What was made is there; if its secret was lost, revoke it and make another with a new key.',
  ),
  TOO_MANY_REQUESTS: entry('Too many requests', 'retryable', 429, 'Wait as long as the Retry-After header says.'),
  INTERNAL: entry(
    'Something unexpected went wrong',
    'retryable',
    500,
    'Try again; if it stays, look for the request id in the logs.',
  ),
  DATABASE_UNAVAILABLE: entry(
    'The database cannot be reached',
    'retryable',
    503,
    'Check that Postgres runs and that DATABASE_URL is right.',
  ),
  WORKFLOW_ENGINE_UNAVAILABLE: entry(
    'The workflow engine cannot be reached',
    'retryable',
    503,
    'Check that Temporal runs and that TEMPORAL_ADDRESS is right.',
  ),
  CREDENTIAL_KEY_WRONG: entry(
    'Stored credentials cannot be opened',
    'needs-operator',
    500,
    'Restore the key file in the authority folder, or register the site again.',
  ),
  SCHEMA_EDITED: entry(
    'An applied database migration was edited',
    'needs-operator',
    500,
    'Restore the migration file as it was applied.',
  ),
  SCHEMA_FAILED: entry(
    'A database migration failed earlier',
    'needs-operator',
    500,
    'Repair the database by hand, then resolve the failed row in _prisma_migrations.',
  ),

  // Embedded services
  HOME_IN_USE: entry(
    'Landfall already runs in this home',
    'needs-operator',
    409,
    'Stop the other "landfall up" with Ctrl-C, or choose another folder with LANDFALL_HOME.',
  ),
  SERVICE_START_FAILED: entry(
    'A part of the installation could not be started',
    'needs-operator',
    500,
    'Read the log that the message names.',
  ),

  // Sites and vSphere
  VSPHERE_UNREACHABLE: entry(
    'The vCenter cannot be reached',
    'retryable',
    502,
    'Check address, port and firewall between the management server and the vCenter.',
  ),
  VSPHERE_LOGIN_FAILED: entry(
    'The vCenter refused user or password',
    'needs-operator',
    422,
    'Check user name and password.',
  ),
  VSPHERE_CERTIFICATE_MISMATCH: entry(
    'The certificate is not the pinned one',
    'needs-operator',
    422,
    'Compare the thumbprint with the one that the vCenter itself shows, then pin it.',
  ),
  VSPHERE_NOT_VCENTER: entry(
    'The address is not a vCenter',
    'permanent',
    422,
    'Give the address of a vCenter, not of a single host.',
  ),
  VSPHERE_NO_PERMISSION: entry(
    'A privilege is missing',
    'needs-operator',
    422,
    'Give the user the privilege that the message names.',
  ),
  VSPHERE_NOT_FOUND: entry(
    'The vCenter does not know this object',
    'permanent',
    404,
    'Look at the inventory again; it may have been deleted or moved.',
  ),
  VSPHERE_BUSY: entry('The object is busy with another task', 'retryable', 503, 'Nothing to do; it is tried again.'),
  VSPHERE_FILE_LOCKED: entry(
    'A file is in use',
    'retryable',
    503,
    'Nothing to do while a task ends; otherwise find the VM that holds the file.',
  ),
  VSPHERE_FILE_EXISTS: entry('The file is there already', 'permanent', 409, 'Choose another name or remove the file.'),
  VSPHERE_NO_SPACE: entry(
    'The datastore has no space left',
    'needs-operator',
    507,
    'Free space on the datastore or choose another one.',
  ),
  VSPHERE_INVALID_STATE: entry(
    'The power state does not allow this',
    'permanent',
    409,
    'Look at the power state of the VM and try again.',
  ),
  VSPHERE_INVALID_ARGUMENT: entry(
    'The vCenter refused an argument',
    'permanent',
    422,
    'Look at the message; a device, name or setting is not accepted there.',
  ),
  VSPHERE_TIMEOUT: entry('The vCenter took too long', 'retryable', 504, 'Nothing to do; it is tried again.'),
  VSPHERE_FAULT: entry(
    'The vCenter reported a fault',
    'permanent',
    502,
    'Look at the message and at the task in the vSphere Client.',
  ),
  VSPHERE_CLOCK_DIFFERS: entry(
    'The clocks differ by more than five minutes',
    'needs-operator',
    422,
    'Set the clocks of the vCenter and of the management server by NTP.',
  ),
  DESTINATION_OLDER: entry(
    'The destination is older than the source',
    'permanent',
    422,
    'Choose a destination of the same or a newer vSphere version.',
  ),
  SITE_EXISTS: entry(
    'This vCenter is registered already',
    'permanent',
    409,
    'Use the registered site, or remove it first.',
  ),
  SITE_IN_USE: entry('The site is in use', 'permanent', 409, 'End its migrations first.'),

  // Clusters, hosts, agents
  CLUSTER_NOT_CONFIGURED: entry(
    'The source cluster is not configured',
    'needs-operator',
    409,
    'Run "landfall cluster configure" for it.',
  ),
  CLUSTER_NOT_SUITABLE: entry(
    'The cluster cannot be configured',
    'needs-operator',
    409,
    'It needs at least two connected hosts of one ESXi version.',
  ),
  HOST_PACKAGE_MISSING: entry('The host package was not built', 'needs-operator', 500, 'Run tools/setup.'),
  AGENT_ISO_MISSING: entry('The agent ISO was not built', 'needs-operator', 500, 'Run tools/setup.'),
  FILTER_INSTALL_FAILED: entry(
    'The host package could not be installed',
    'needs-operator',
    502,
    'Look at the reason per host; hosts must reach the management server over HTTPS.',
  ),
  AGENT_UNREACHABLE: entry(
    'An agent cannot be reached',
    'retryable',
    502,
    'Check that the host or shadow VM runs, and the firewall for ports 32873 and 32875.',
  ),
  AGENT_NOT_ENROLLED: entry(
    'The host is not enrolled',
    'needs-operator',
    409,
    'Run "landfall cluster configure" again.',
  ),
  ENROLMENT_REFUSED: entry(
    'The agent could not prove who it is',
    'needs-operator',
    502,
    'Somebody else answers at this address; check it, then configure again.',
  ),
  AGENT_CERTIFICATE_EXPIRED: entry(
    'The certificate of an agent has ended',
    'needs-operator',
    502,
    'Check the clocks of agent and management server; the certificate is renewed when the agent can be reached.',
  ),
  AGENT_FOREIGN: entry(
    'The agent belongs to another installation',
    'needs-operator',
    409,
    'Remove the other installation from the cluster first, or use the one that it belongs to.',
  ),
  AGENT_ANSWER_INVALID: entry(
    'An agent gave an answer that is not understood',
    'permanent',
    502,
    'Check that the versions of agent and management server fit together.',
  ),
  CERTIFICATE_REQUEST_INVALID: entry(
    'A certificate request is broken',
    'permanent',
    502,
    'Check that the versions of agent and management server fit together.',
  ),
  AUTHORITY_EXPOSED: entry(
    'The keys of the installation can be read by others',
    'needs-operator',
    500,
    'Find out who could read them; then take the rights of group and others from the files (chmod 600).',
  ),
  AUTHORITY_UNREADABLE: entry(
    'The keys of the installation cannot be read',
    'needs-operator',
    500,
    'Restore the authority folder from a backup; without it agents must be configured again.',
  ),
  RECEIPT_INVALID: entry('The receipt is not valid', 'permanent', 422, 'Do not rely on it; ask for the original.'),
  ISO_FAILED: entry(
    'The configuration image could not be made',
    'needs-operator',
    500,
    'Check that xorriso is installed and that the temporary folder has space.',
  ),

  // Replicator
  STALE_GENERATION: entry(
    'The command came from a worker that lost its lease',
    'permanent',
    409,
    'Nothing to do; the present worker goes on.',
  ),
  DISK_SEALED: entry('The disk was handed over to the destination', 'permanent', 409, 'Use the VM at the destination.'),
  DISK_MISSING: entry(
    'A destination disk is not attached to the shadow VM',
    'retryable',
    409,
    'Check the disks of the shadow VM.',
  ),
  NOT_CLOSED: entry(
    'The source VM still holds its disks',
    'retryable',
    409,
    'Wait until the source VM is powered off.',
  ),
  NOT_READY: entry(
    'The migration is not ready',
    'retryable',
    409,
    'Wait until the state says "Ready for final migration".',
  ),
  FREEZE_CANCELLED: entry(
    'The source VM was powered on during the final migration',
    'needs-operator',
    409,
    'Leave the source VM off and start the final migration again.',
  ),
  SOURCE_STORAGE_FAILED: entry(
    'A disk of the source VM cannot be flushed',
    'needs-operator',
    409,
    'The source VM is still the owner. Look at the health of its datastore, then start the final migration again.',
  ),
  ROOTS_DIFFER: entry(
    'Source and destination disks are not equal',
    'needs-operator',
    409,
    'The source was left as the owner. Power it on; keep the evidence; terminate this migration.',
  ),
  REPLICATION_FAILED: entry(
    'The replicator gave up',
    'needs-operator',
    502,
    'Look at the reason that the replicator gives.',
  ),
  REPLICATOR_REFUSED: entry(
    'The replicator refused a command',
    'permanent',
    409,
    'Look at the message of the replicator.',
  ),

  PAYLOAD_KEYS_UNREADABLE: entry(
    'The keys of the workflow payloads cannot be read',
    'needs-operator',
    500,
    'Restore authority/payload-keys.json of the installation from its backup.',
  ),
  PAYLOAD_KEY_UNKNOWN: entry(
    'A workflow payload cannot be decrypted',
    'needs-operator',
    500,
    'Restore the key that is named to authority/payload-keys.json of the installation.',
  ),

  // Migrations
  VM_NOT_ELIGIBLE: entry(
    'The VM cannot be migrated as it is',
    'permanent',
    422,
    'Remove what the reasons name, then start again.',
  ),
  VM_ALREADY_MIGRATING: entry('A migration of this VM is under way', 'permanent', 409, 'Wait for it or terminate it.'),
  NETWORK_UNKNOWN: entry(
    'The destination network does not exist',
    'permanent',
    422,
    'Choose a network that the destination cluster has.',
  ),
  DATASTORE_UNKNOWN: entry(
    'The destination datastore does not exist',
    'permanent',
    422,
    'Choose a datastore that the destination cluster has.',
  ),
  DATASTORE_FULL: entry(
    'The destination datastore has too little free space',
    'needs-operator',
    507,
    'Free space there or choose another datastore.',
  ),
  FINAL_NOT_READY: entry(
    'Final migration is not possible yet',
    'permanent',
    409,
    'Wait until the state says "Ready for final migration".',
  ),
  FINAL_UNDER_WAY: entry('The final migration is under way', 'permanent', 409, 'Wait for its end.'),
  PHASE_DISALLOWS: entry(
    'The present phase does not allow this',
    'permanent',
    409,
    'Look at the present state of the migration.',
  ),
  SITE_PAUSED: entry('A site of the migration is paused', 'permanent', 409, 'Resume it.'),
  WORKFLOW_ENDED: entry(
    'The workflow of the migration was ended from outside',
    'needs-operator',
    409,
    'What it had made was removed; start a new migration.',
  ),
  MEMBER_NOT_WAITING: entry(
    'The member does not wait in the queue',
    'permanent',
    409,
    'Only members that have not begun can be moved, held or removed; terminate the others.',
  ),
  GROUP_HELD: entry(
    'A member holds the group up',
    'permanent',
    409,
    'Decide about each member that failed or was terminated: wait for it, or go on without it.',
  ),
  GROUP_RETURNED: entry(
    'The group’s final migration was given up and every member went back to its source',
    'needs-operator',
    409,
    'Look at the member that is named, then start the final migration again.',
  ),
  RUNBOOK_STEP_FAILED: entry(
    'A step of the runbook did not come to its end',
    'needs-operator',
    504,
    'Look at the VMs that are named; power on by hand what the runbook left off.',
  ),
  OBJECTIVE_NOT_MET: entry(
    'The final migration would miss an objective',
    'permanent',
    409,
    'Wait until the projection fits, or say that it may begin anyway.',
  ),
  ADMISSION_TOO_SMALL: entry(
    'The migration needs more at once than the limits allow',
    'permanent',
    422,
    'Make the group smaller, or raise the limits that are named.',
  ),
  WINDOW_PASSED: entry(
    'The window for the final migration has passed',
    'needs-operator',
    409,
    'Give it another window, or start the final migration by hand.',
  ),
  ALREADY_ENDED: entry('The migration has ended', 'permanent', 409, 'Start a new one.'),
  SHADOW_VM_NO_ADDRESS: entry(
    'The shadow VM got no address',
    'needs-operator',
    504,
    'Check that the destination network has DHCP and that the datastore holds the agent ISO.',
  ),
  SHUT_DOWN_TIMEOUT: entry(
    'The guest did not shut down in time',
    'needs-operator',
    504,
    'Shut the guest down by hand, then start the final migration again.',
  ),
  SOURCE_DISK_CHANGED: entry(
    'A disk of the source VM was changed, moved or removed',
    'permanent',
    409,
    'Start a new migration with the disks as they are now.',
  ),
  FOREIGN_DISK_ATTACHED: entry(
    'A disk that must be kept is still attached to the shadow VM',
    'needs-operator',
    500,
    'Detach it in the vSphere Client without deleting its files.',
  ),
  TERMINATED: entry('The migration was terminated', 'permanent', 409, 'Start a new one when you want to.'),
} as const satisfies Record<string, CodeEntry>;

export type ErrorCode = keyof typeof errorCodes;

/** Whether a text (from a peer or a history) is one of our codes. */
export function isErrorCode(text: unknown): text is ErrorCode {
  return typeof text === 'string' && Object.hasOwn(errorCodes, text);
}

function entry<R extends RetryClass>(title: string, retry: R, httpStatus: number, remedy: string) {
  return { title, retry, httpStatus, remedy };
}
