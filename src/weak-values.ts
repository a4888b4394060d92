/** Objects by name, each forgotten when no code uses it any more. */
export class WeakValues<Value extends object> {
  readonly #values = new Map<string, WeakRef<Value>>();
  readonly #forgotten = new FinalizationRegistry<string>((name) => {
    // The name may have got another one since.
    if (this.#values.get(name)?.deref() === undefined) this.#values.delete(name);
  });

  /** The one of that name; made if there is none. */
  get(name: string, make: () => Value): Value {
    const known = this.#values.get(name)?.deref();
    if (known !== undefined) return known;
    const fresh = make();
    this.#values.set(name, new WeakRef(fresh));
    this.#forgotten.register(fresh, name);
    return fresh;
  }

  /** How many there are at the moment. */
  get size(): number {
    return [...this.#values.values()].filter((weak) => weak.deref() !== undefined).length;
  }
}
