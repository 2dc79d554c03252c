// Where an agent listens, and how it is named in messages. Names are never resolved for agents: the address is an IP address.

export interface AgentEndpoint {
  readonly address: string;
  readonly port: number;
}

export function hostOf({ address, port }: AgentEndpoint): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** For messages: "the agent at 192.0.2.7:32875". */
export function nameOf(endpoint: AgentEndpoint): string {
  return `the agent at ${hostOf(endpoint)}`;
}
