// Env-raw reads a variable with the standard library alone.
package main

import (
	"fmt"
	"os"
)

func main() {
	password, ok := os.LookupEnv("DATABASE_PASSWORD")
	if !ok {
		fmt.Fprintln(os.Stderr, "DATABASE_PASSWORD is not set")
		os.Exit(1)
	}
	if _, err := fmt.Fprintln(os.Stdout, len(password)); err != nil {
		os.Exit(1)
	}
}
