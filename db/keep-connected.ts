/** One connection of its own that is opened again when it is lost: for what a pool cannot hold. It must not run work. */
import pg from 'pg';

const againAfterMs = 1_000;

export interface KeptConnection {
  close(): Promise<void>;
}

/**
 * `opened` prepares each connection; the first one's failure is thrown, later ones are tried again until closed. After a
 * lost connection `again` is called once the next one is prepared.
 */
export async function keepConnected(
  url: string,
  opened: (client: pg.Client) => Promise<void>,
  again: () => void = () => undefined,
): Promise<KeptConnection> {
  let closed = false;
  let client = await connect(url, opened, () => void reconnect());
  async function reconnect(): Promise<void> {
    while (!closed) {
      await new Promise((resolve) => setTimeout(resolve, againAfterMs));
      try {
        client = await connect(url, opened, () => void reconnect());
        if (closed) await client.end();
        else again();
        return;
      } catch {
        // The server is still away; the loop tries again until closed.
      }
    }
  }
  return {
    close: async () => {
      closed = true;
      await client.end().catch(() => undefined);
    },
  };
}

async function connect(url: string, opened: (client: pg.Client) => Promise<void>, lost: () => void) {
  const client = new pg.Client({ connectionString: url, keepAlive: true });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await opened(client);
  } catch (error) {
    await client.end().catch(() => undefined);
    throw error;
  }
  client.once('end', lost);
  return client;
}
