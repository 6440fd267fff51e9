/** Modules that the program gives to code that it loads while it runs. */

/**
 * From now on, `import … from "<name>"` in any module that this thread loads gives these exports: a
 * compiled program then loads files with nothing beside them. A package of that name on the disk is
 * not looked for. Each thread needs its own call.
 */
export function provideModule(name: string, exports: Readonly<Record<string, unknown>>): void {
  Bun.plugin({
    name: `provide ${name}`,
    setup(build) {
      build.module(name, () => ({ exports, loader: "object" }));
    },
  });
}
