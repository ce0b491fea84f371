// File-raw reads a file with the standard library alone.
package main

import (
	"fmt"
	"os"
)

func main() {
	password, err := os.ReadFile("/run/secrets/database_password")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if _, err := fmt.Fprintln(os.Stdout, len(password)); err != nil {
		os.Exit(1)
	}
}
