/**
 * What a vCenter says is shown to people and kept: in records, histories, logs. Should it repeat a password in the text of
 * a fault, the text goes on without it. It must not be used for anything but texts for people.
 */

/** Passwords of open sessions, with how many sessions use each. */
const secrets = new Map<string, number>();

/** From now on no fault says this word. Returns the function that ends it; call it once. */
export function keepSecret(word: string): () => void {
  secrets.set(word, (secrets.get(word) ?? 0) + 1);
  return () => {
    const left = (secrets.get(word) ?? 1) - 1;
    if (left > 0) secrets.set(word, left);
    else secrets.delete(word);
  };
}

/** The text without any secret, as it is or in the forms that servers echo. */
export function withoutSecrets(text: string): string {
  let safe = text;
  for (const word of secrets.keys()) {
    if (word === '') continue;
    const forms = [word, encodeURIComponent(word), Buffer.from(word).toString('base64')];
    for (const form of forms) safe = safe.replaceAll(form, '[password]');
  }
  return safe;
}
