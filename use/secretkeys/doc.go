// Package secretkeys holds signing or encryption keys that rotate while several processes use them.
//
//	keys, err := secretkeys.Open(ctx, client, "signing") // ctx is the program's
//	if err != nil {
//		return err
//	}
//	defer keys.Close()
//
//	id, key := keys.Active() // sign with key, and put id into the token as its kid
//
//	key, ok := keys.ByID(kid) // verify a token with the key of its kid
//	if !ok {
//		return errUnknownKey
//	}
//
// # Key ids
//
// The id is the version that the backend reports, such as "7" of Vault's KV v2 or a VersionId of AWS Secrets Manager. It is public, and the
// same in all processes. Environment variables, files, KV v1, and secrets with a lease have no such version: use [Fields] to name a field
// of the secret as the id.
//
// # What it does
//
// To rotate the key, write a new version of the secret. Each process then does the same:
//
//	0            it has fetched the new key    the new key verifies, the old one signs
//	1 min        ActivateAfter                 the new key signs, the old one verifies
//	24 h 1 min   Overlap later                 the old key is removed
//
// All processes fetch the new key within [Interval], before any of them signs with it. This includes processes that start meanwhile. Within
// the limits below, every process knows every id in use.
//
// # Revoke a leaked key
//
//  1. Rotate: write a new version.
//  2. Remove the old version. Delete it in Vault. AWS does not delete versions: remove the stage AWSPREVIOUS from it.
//  3. Restart all processes. They sign with the new key at once, and refuse signatures of the old one.
//
// Running processes keep the keys that they have. Do not delete the current version instead: [Open] would then fail everywhere.
//
// # Limits
//
//   - The backend must have answered each process within [ActivateAfter] of a rotation.
//   - The clocks of the backend and of a process must differ by less than ActivateAfter minus Interval. A starting process never waits
//     longer than ActivateAfter to sign with the current key.
//   - AWS reports when a version was written. In a rotation by steps, that is before it becomes AWSCURRENT. Make ActivateAfter longer
//     than these steps plus Interval.
//   - The time between two rotations must exceed Overlap plus Interval: a starting process knows one version before the current one. With
//     [Fields] and a backend with versions, each write of the document counts as a rotation, even if it changes neither field.
//   - If a starting process is denied the version before the current one, that version counts as missing: the process signs with the
//     current one at once. The policy on AWS must allow AWSPREVIOUS and AWSPENDING.
//   - AWS does not report when AWSCURRENT was moved back to an older version. A process that starts less than ActivateAfter later signs
//     with that version at once. If it was replaced more than Overlap ago, its peers do not know it yet. Write the old key as a new
//     version instead, or restart no process for ActivateAfter. In Vault, a rollback is a new version.
//   - Files, environment variables and KV v1 keep no earlier version, and do not report when the current one was created. A starting
//     process knows only the current key. It signs at once, perhaps before others have the key, and refuses signatures of older keys.
//   - With a fallback, a process that starts while another backend answers knows that backend's versions.
package secretkeys
