package secretstest

import (
	"maps"
	"slices"

	"github.com/seed-5482dd03/secrets"
)

func versionCases() []testCase {
	const why = "a pinned version must return that version or an error"
	with := func(name string, run func(c *check, b secrets.Backend, path string, versions map[string]string)) testCase {
		return testCase{"version/" + name, why, func(c *check) {
			b, path, versions := c.versions(c.t)
			if len(versions) < 2 { //nolint:mnd // a single version would be the current one
				c.fatalf("the setup of WithVersions returns %d versions; want at least 2", len(versions))
			}
			run(c, c.own(b), path, versions)
		}}
	}
	pin := func(path, version string) string { return path + "?version=" + version }
	return []testCase{
		with("pinned", func(c *check, b secrets.Backend, path string, versions map[string]string) {
			for version, content := range versions {
				s, err := c.fetch(c.t.Context(), b, pin(path, version))
				c.wantValue("Fetch of "+pin(path, version), s, err, content)
			}
		}),
		with("get-many", func(c *check, b secrets.Backend, path string, versions map[string]string) {
			keys := []string{path}
			for version := range versions {
				keys = append(keys, pin(path, version))
			}
			results := c.getMany(c.t.Context(), c.client(b), keys...)
			for version, content := range versions {
				r := results[pin(path, version)]
				c.wantValue(c.many(pin(path, version)), r.Secret, r.Err, content)
			}
		}),
		with("client", func(c *check, b secrets.Backend, path string, versions map[string]string) {
			client := c.client(b)
			for version, content := range versions {
				s, err := c.get(c.t.Context(), client, pin(path, version))
				c.wantValue("Client.Get of "+pin(path, version), s, err, content)
			}
		}),
		with("meta", func(c *check, b secrets.Backend, path string, versions map[string]string) {
			names := make(map[string]string)
			for version := range versions {
				s, err := c.fetch(c.t.Context(), b, pin(path, version))
				if err != nil {
					c.errorf("Fetch of %s: %v", pin(path, version), c.safe(err))
					continue
				}
				name := s.Meta().Version
				if name == "" {
					c.errorf("Fetch of %s: Meta.Version is empty", pin(path, version))
				} else if was, twice := names[name]; twice {
					c.errorf("two versions, %s and %s, have the same Meta.Version", was, version)
				}
				names[name] = version
			}
		}),
		with("current", func(c *check, b secrets.Backend, path string, versions map[string]string) {
			s, err := c.fetch(c.t.Context(), b, path)
			if err != nil {
				c.fatalf("Fetch of the current version: %v", c.safe(err))
			}
			if s.Meta().Version == "" {
				c.errorf("Meta.Version of the current version is empty")
			}
			if !slices.Contains(slices.Collect(maps.Values(versions)), s.Reveal()) {
				c.errorf("the current value is not among the versions")
			}
		}),
		with("unknown", func(c *check, b secrets.Backend, path string, _ map[string]string) {
			_, err := c.fetch(c.t.Context(), b, pin(path, "999999"))
			c.wantAbsent("Fetch of a missing version", err, secrets.ErrNotFound, secrets.ErrDeleted, secrets.ErrInvalidKey)
		}),
	}
}
