// Who is who in the data plane: the names that stand as URI SAN in certificates, and nothing else.
// It signs and checks nothing; authority.ts and peer-verification.ts do.

export type AgentRole = 'host' | 'receiver';
export type DataPlaneRole = AgentRole | 'source' | 'server';

/** `host` is named by its agent id, `receiver` and `source` by the VM migration they serve. */
export type AgentIdentity = { readonly role: AgentRole | 'source'; readonly id: string };

const namePattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

/** The name of an agent within an installation, for instance `spiffe://landfall/<installationId>/receiver/vmm_…`. */
export function spiffeIdOf(installationId: string, identity: AgentIdentity): string {
  if (!namePattern.test(identity.id)) throw new TypeError('an agent id holds letters, digits, "_", "." and "-" only');
  return `spiffe://landfall/${installationId}/${identity.role}/${identity.id}`;
}

/** The name under which the management server speaks to agents. */
export function serverSpiffeIdOf(installationId: string): string {
  return `spiffe://landfall/${installationId}/server`;
}
