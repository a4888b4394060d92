/** What is known of the names that were used lately: of a program with ever new ones not all are kept. */
const MOST = 1000;

export class Recent<V> extends Map<string, V> {
  override set(name: string, value: V): this {
    if (this.size === MOST && !this.has(name)) this.clear();
    return super.set(name, value);
  }
}
