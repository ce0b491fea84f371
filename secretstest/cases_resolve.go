package secretstest

import "github.com/seed-5482dd03/secrets"

func resolveCases() []testCase {
	const why = "Resolve decides which document a key means; the cache and Invalidate depend on it"
	with := func(name string, run func(c *check, resolve func(secrets.Ref) secrets.Ref)) testCase {
		return testCase{"resolve/" + name, why, func(c *check) {
			b := c.backend(nil)
			if resolve := b.Info().Resolve; resolve != nil {
				run(c, resolve)
			}
		}}
	}
	good := goodRefs()
	return []testCase{
		with("idempotent", func(c *check, resolve func(secrets.Ref) secrets.Ref) {
			for _, ref := range good {
				c.do("Resolve", func() {
					once := resolve(ref)
					if twice := resolve(once); twice != once {
						c.errorf("Resolve of %q is %q, and Resolve of that is %q", ref, once, twice)
					}
				})
			}
		}),
		with("keeps-version", func(c *check, resolve func(secrets.Ref) secrets.Ref) {
			for _, ref := range good {
				c.do("Resolve", func() {
					if got := resolve(ref).Version; got != ref.Version {
						c.errorf("Resolve of %q changes the version to %q", ref, got)
					}
				})
			}
		}),
		with("stays-valid", func(c *check, resolve func(secrets.Ref) secrets.Ref) {
			for _, ref := range good {
				c.do("Resolve", func() {
					got := resolve(ref)
					if _, err := secrets.ParseRef(got.String()); err != nil {
						c.errorf("Resolve of %q returns an invalid key: %v", ref, err)
					}
				})
			}
		}),
		with("whole", func(c *check, resolve func(secrets.Ref) secrets.Ref) {
			for _, path := range []string{"database", "text/plain", "a/b/c"} {
				c.do("Resolve", func() {
					if got := resolve(secrets.Ref{Path: path, Whole: true}); got.Field != "" {
						c.errorf("Resolve of %q, a whole document, selects the field %q", path+"#", got.Field)
					}
				})
			}
		}),
		with("hostile", func(c *check, resolve func(secrets.Ref) secrets.Ref) {
			for _, ref := range hostileRefs() {
				c.do("Resolve of "+shortRef(ref), func() {
					resolve(ref)
					resolve(secrets.Ref{Path: ref.Path, Field: ref.Path, Version: ref.Version})
					resolve(secrets.Ref{Path: ref.Path, Field: ref.Path, Whole: true})
				})
			}
		}),
	}
}

// goodRefs returns refs of many forms, for stored and for missing documents.
func goodRefs() []secrets.Ref {
	return []secrets.Ref{
		{Path: "database"},
		{Path: "database", Field: "password"},
		{Path: "database", Field: "missing"},
		{Path: "database", Version: "1"},
		{Path: "database", Field: "password", Version: "1"},
		{Path: "text/plain"},
		{Path: "text", Field: "plain"},
		{Path: "text/plain", Field: "x"},
		{Path: "missing/value", Version: "v"},
		{Path: "a/b/c/d"},
	}
}
