/** The program's version, said by `--version`, in logs and on the wire. */
export const VERSION = "0.1.0";
