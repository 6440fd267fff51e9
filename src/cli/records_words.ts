/** What the words after `job`, `dead-letters` and `schedules` ask for. */
import type { RecordsConfig } from "../config/config.ts";

export type RecordsAction =
  /** `input` "-" is standard input, absent is no argument. */
  | { readonly kind: "submit"; readonly task: string; readonly input?: string }
  | { readonly kind: "get" | "cancel" | "retry" | "watch"; readonly id: string }
  | { readonly kind: "list_jobs" | "list_letters" | "list_schedules" }
  | { readonly kind: "show_letter"; readonly id: string }
  /** Without an id: all of them, or all of one task. */
  | { readonly kind: "retry_letters" | "purge_letters"; readonly id?: string }
  | { readonly kind: "steer_schedule"; readonly action: ScheduleAction; readonly name: string };

export type ScheduleAction = "run" | "pause" | "resume";

type ReadWords = { readonly action: RecordsAction } | { readonly mistake: string };

const JOB_ACTIONS = ["get", "cancel", "retry", "watch"] as const;
const SCHEDULE_ACTIONS: readonly ScheduleAction[] = ["run", "pause", "resume"];

export function readRecordsWords(config: RecordsConfig, words: readonly string[]): ReadWords {
  switch (config.mode) {
    case "job":
      return readJobWords(words);
    case "dead-letters":
      return readLetterWords(config, words);
    case "schedules":
      return readScheduleWords(words);
  }
}

function readJobWords([first, second, third, ...more]: readonly string[]): ReadWords {
  if (first === "list") return second === undefined ? LIST_JOBS : tooMuch([second]);
  if (first === "submit") {
    if (second === undefined) return { mistake: "Which task is the job to run?" };
    if (more.length > 0) return tooMuch(more);
    return {
      action: { kind: "submit", task: second, ...(third === undefined ? {} : { input: third }) },
    };
  }
  const kind = JOB_ACTIONS.find((one) => one === first);
  if (kind === undefined) {
    const known = ["submit", "list", ...JOB_ACTIONS].join(", ");
    return { mistake: `${first === undefined ? "What" : `"${first}"`}: there are ${known}` };
  }
  if (second === undefined) return { mistake: `Which job? ${kind} needs its id` };
  return third === undefined ? { action: { kind, id: second } } : tooMuch([third, ...more]);
}

const LIST_JOBS: ReadWords = { action: { kind: "list_jobs" } };

function readLetterWords(
  { filter }: RecordsConfig,
  [first = "list", id, ...more]: readonly string[],
): ReadWords {
  if (more.length > 0) return tooMuch(more);
  switch (first) {
    case "list":
      return id === undefined ? { action: { kind: "list_letters" } } : tooMuch([id]);
    case "show":
      return id === undefined
        ? { mistake: "Which dead letter? show needs its id" }
        : { action: { kind: "show_letter", id } };
    case "retry":
    case "purge": {
      const isMany = filter.every || filter.task !== undefined;
      if (id === undefined && !isMany) {
        return { mistake: `Which dead letters? ${first} needs an id, --task or --every` };
      }
      if (id !== undefined && isMany) return { mistake: "An id, or --task or --every: give one" };
      const kind = first === "retry" ? "retry_letters" : "purge_letters";
      return { action: { kind, ...(id === undefined ? {} : { id }) } };
    }
    default:
      return { mistake: `"${first}": there are list, show, retry, purge` };
  }
}

function readScheduleWords([first = "list", name, ...more]: readonly string[]): ReadWords {
  if (first === "list") {
    return name === undefined ? { action: { kind: "list_schedules" } } : tooMuch([name]);
  }
  const action = SCHEDULE_ACTIONS.find((one) => one === first);
  if (action === undefined) {
    return { mistake: `"${first}": there are list, ${SCHEDULE_ACTIONS.join(", ")}` };
  }
  if (name === undefined) return { mistake: `Which schedule? ${action} needs its name` };
  return more.length > 0 ? tooMuch(more) : { action: { kind: "steer_schedule", action, name } };
}

function tooMuch(words: readonly string[]): ReadWords {
  return { mistake: `"${words.join(" ")}" is too much; quote what has spaces` };
}
