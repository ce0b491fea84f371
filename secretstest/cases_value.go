package secretstest

import "github.com/seed-5482dd03/secrets"

func (s *suite) valueCases() []testCase {
	const why = "a value that changes on the way no longer works as a credential, and the cause is hard to see"
	value := func(name, path, content string) testCase {
		return testCase{"value/" + name, why, func(c *check) {
			b := c.backend(map[string]string{path: content})
			s, err := c.fetch(c.t.Context(), b, path)
			c.wantValue("Fetch", s, err, content)
			client := c.client(b)
			s, err = c.get(c.t.Context(), client, path)
			c.wantValue("Client.Get", s, err, content)
			r := c.getMany(c.t.Context(), client, "text/other", path)[path]
			c.wantValue("Client.GetMany", r.Secret, r.Err, content)
			has, err := client.Has(c.t.Context(), path)
			if !has || err != nil {
				c.errorf("Client.Has is %v with error %v", has, c.safe(err))
			}
		}}
	}
	all := []testCase{value("object", "database", database), value("object-of-all-kinds", "fields", fields)}
	for _, v := range values() {
		all = append(all, value(v.name, "value-"+v.name+"/value", v.value))
	}
	if !s.floatNumbers {
		all = append(all, value("numbers", "numbers", numbers))
	}
	if !s.withoutEmpty {
		all = append(all, value("empty", "value-empty/value", ""))
	}
	if !s.objectsOnly {
		for _, v := range values() {
			all = append(all, value("document-"+v.name, "document-"+v.name, v.value))
		}
		all = append(all, value("document-key-twice", "document-twice", `{"a":"`+canary+`","a":"second"}`))
	}
	if s.binary {
		every := make([]byte, 256)
		for i := range every {
			every[i] = byte(i)
		}
		binary := canary + "\x00\xff\xfe\xc3\x28\r\n\x00" + string(every)
		all = append(all, value("binary", "document-binary", binary+"\n"), value("binary-newline", "document-newline", canary+"\n\n"))
	}
	return all
}

func (s *suite) fieldCases() []testCase {
	const why = "a field is the exact stored text, or an error: a float64 would change a number"
	found := func(name, key, want string) testCase {
		return testCase{"field/" + name, why, func(c *check) {
			b := c.backend(nil)
			s, err := c.fetch(c.t.Context(), b, key)
			c.wantValue("a direct call", s, err, want)
			s, err = c.get(c.t.Context(), c.client(b), key)
			c.wantValue("Client.Get", s, err, want)
			if s.Meta().Backend != b.Info().Name {
				c.errorf("Meta.Backend of a field is %q", s.Meta().Backend)
			}
		}}
	}
	absent := func(name, key string, classes ...error) testCase {
		return testCase{"field/" + name, why, func(c *check) {
			b := c.backend(nil)
			_, err := c.fetch(c.t.Context(), b, key)
			c.wantAbsent("a direct call", err, classes...)
			_, err = c.get(c.t.Context(), c.client(b), key)
			c.wantAbsent("Client.Get", err, classes...)
		}}
	}
	var exact []testCase
	if !s.floatNumbers {
		exact = []testCase{
			found("integer-beyond-float64", "numbers#integer", "9007199254740993"),
			found("integer-beyond-64-bits", "numbers#large", "123456789012345678901234567890"),
			found("decimal-with-zero", "numbers#decimal", "1.50"),
		}
	}
	return append(exact, []testCase{
		found("string", "database#password", password),
		found("number", "database#port", "5432"),
		found("true", "fields#true", "true"),
		found("false", "fields#false", "false"),
		found("empty-string", "fields#empty", ""),
		found("escapes", "fields#escaped", canary+"\n\"\\é"),
		found("object", "fields#nested", `{"deep":{"value":"`+canary+`-deep"}}`),
		found("array", "fields#array", `["`+canary+`-0","`+canary+`-1"]`),
		found("path-into-object", "fields#nested.deep.value", canary+"-deep"),
		found("path-into-array", "fields#array.1", canary+"-1"),
		found("key-with-dot", "fields#dotted.key", canary+"-dotted"),
		found("unicode-key", "fields#ключ", canary+"-ключ"),
		found("whole", "database#", database),
		absent("null", "fields#null", secrets.ErrFieldNotFound),
		absent("missing", "database#missing", secrets.ErrFieldNotFound),
		absent("missing-in-path", "fields#nested.deep.missing", secrets.ErrFieldNotFound),
		absent("beyond-array", "fields#array.2", secrets.ErrFieldNotFound),
		absent("other-case", "database#Password", secrets.ErrFieldNotFound),
		// A backend may read the path of a text as a secret and its field, and then find no such secret.
		absent("of-text", "text/plain#field", secrets.ErrMalformed, secrets.ErrNotFound, secrets.ErrFieldNotFound),
		absent("of-missing-document", "missing#field", secrets.ErrNotFound),
		{"field/one-document", "a user and a password must come from one version", func(c *check) {
			client := c.client(c.backend(nil))
			got, err := client.GetMany(c.t.Context(), "database#user", "database#password", "database")
			c.wantValue("database#user", got["database#user"], err, user)
			c.wantValue("database#password", got["database#password"], err, password)
			c.wantValue("database", got["database"], err, database)
			if got["database#user"].Meta().Version != got["database#password"].Meta().Version {
				c.errorf("two fields of one document have two versions")
			}
		}},
		{"field/document-of-its-own", "if a/b is stored, a#b is its value or not found, never another value", func(c *check) {
			s, err := c.get(c.t.Context(), c.client(c.backend(nil)), "text#plain")
			if err == nil {
				c.wantValue("text#plain", s, nil, plain)
			} else {
				c.wantAbsent("text#plain", err, secrets.ErrNotFound)
			}
		}},
		{"field/whole-of-text", "a/b# is the document a/b or not found, never a field of another document", func(c *check) {
			s, err := c.get(c.t.Context(), c.client(c.backend(nil)), "text/plain#")
			if err == nil {
				c.wantValue("text/plain#", s, nil, plain)
			} else {
				c.wantAbsent("text/plain#", err, secrets.ErrNotFound)
			}
		}},
	}...)
}
