//go:build !unix

package regular

import "os"

// flags are plain where no name in a directory can block its opener.
const flags = os.O_RDONLY
