//go:build !unix

package regular

import "os"

// flags are plain: no file name on these systems can block its opener.
const flags = os.O_RDONLY
