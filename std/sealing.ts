/** Encrypts small contents by a key that does not lie beside them. */
export interface Sealing {
  seal(content: Uint8Array): Uint8Array;
  /** @throws ApiaryError `failed-precondition` when it was sealed otherwise, or changed since */
  open(sealed: Uint8Array): Uint8Array;
}
