// The session, kept in this browser, so that a reload loses nothing. Other tabs have their own.

const DAY_MS = 24 * 3600 * 1000; // sessions that are older are deleted
const TABLE = "entries";

let database = null, session = "";

const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

const table = (mode) => database.transaction(TABLE, mode).objectStore(TABLE);

// What this tab's session had, oldest first. A browser that stores nothing has an empty one.
export async function opened() {
  try {
    session = sessionStorage.getItem("session") ?? String(Date.now());
    sessionStorage.setItem("session", session);
    const request = indexedDB.open("playground", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE);
    database = await done(request);
    for (const key of await done(table("readonly").getAllKeys()))
      if (key[0] !== session && Number(key[0]) < Date.now() - DAY_MS) await done(table("readwrite").delete(key));
    return await done(table("readonly").getAll(mine()));
  } catch {
    database = null;
    return [];
  }
}

const mine = () => IDBKeyRange.bound([session], [session, []]);

export async function keep(entry) {
  if (!database) return;
  const { preview, ...picture } = entry.picture;
  const results = [...entry.results].filter(([, result]) => result.order);
  try {
    await done(table("readwrite").put({ id: entry.id, picture, results, verdict: entry.verdict }, [session, entry.id]));
  } catch {
    database = null; // the disk is full: the session lives until the page is left
  }
}

export const drop = (entry) => database && done(table("readwrite").delete([session, entry.id])).catch(() => {});

export const dropAll = () => database && done(table("readwrite").delete(mine())).catch(() => {});
