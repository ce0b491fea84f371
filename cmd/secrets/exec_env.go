package main

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/seed-5482dd03/secrets"
)

// directoryVariable names the directory of files with a relative path.
const directoryVariable = "SECRETS_DIR"

// checkVariables checks the names of --env and --only, and notes the keys.
func (l *launch) checkVariables() (err error) {
	if l.variables, err = l.targets("--env", "NAME", l.env); err != nil {
		return err
	}
	for _, v := range l.variables {
		if v.name == "" || strings.ContainsRune(v.name, 0) {
			return usage("exec: --env %s: not a name of a variable; write NAME=KEY", printable(v.name+"="+v.key))
		}
	}
	for _, name := range l.only {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return usage("exec: --only %s: not a name of a variable; write NAME,NAME", printable(name))
		}
	}
	return nil
}

// checkValues returns an error if a value cannot be in a variable.
func (l *launch) checkValues(values map[string]secrets.Secret) error {
	var faults []error
	for _, v := range l.variables {
		if strings.ContainsRune(values[v.key].Reveal(), 0) {
			faults = append(faults, usage("exec: --env %s=%s: the value has a NUL byte, which no variable can hold; use --file",
				printable(v.name), printable(v.key)))
		}
		// MAX_ARG_STRLEN, with "=" and NUL: https://man7.org/linux/man-pages/man2/execve.2.html
		if runtime.GOOS == "linux" && len(v.name)+len(values[v.key].Reveal())+2 > 128<<10 {
			faults = append(faults, notStarted(l.args[0], syscall.E2BIG))
		}
	}
	return errors.Join(faults...)
}

// environment returns the variables of the program.
func (l *launch) environment(values map[string]secrets.Secret) []string {
	own := make(map[string]bool)
	var all []string
	for _, v := range l.variables {
		own[canonical(v.name)] = true
		all = append(all, v.name+"="+values[v.key].Reveal())
	}
	if l.mounted.dir != "" {
		own[directoryVariable] = true
		all = append(all, directoryVariable+"="+l.mounted.dir)
	}
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); !own[canonical(name)] && l.inherits(name) {
			all = append(all, variable)
		}
	}
	return all
}

// inherits reports whether the program gets the variable of the caller.
func (l *launch) inherits(name string) bool {
	if len(l.only) > 0 {
		return slices.ContainsFunc(l.only, func(only string) bool { return canonical(only) == canonical(name) })
	}
	return !l.pristine
}

// canonical returns what is equal for two names of the same variable.
func canonical(name string) string {
	if runtime.GOOS == "windows" {
		return strings.ToUpper(name)
	}
	return name
}
