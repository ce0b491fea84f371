package redact

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// weakest is the length in bytes of the shortest text that is masked. Shorter ones are found in what is no secret.
	weakest = 8
	// longest is the length in bytes of the longest text that is looked for as one. So a Writer holds little back.
	longest = 4096
)

// texts returns what a value is masked by: the value and its lines or, of a JSON document, the strings in it. It counts the
// values and strings that are too weak for that, and those that it did not come to.
func texts(value string) (all []string, skipped int) {
	c := collector{seen: make(map[string]struct{})}
	if isDocument(value) {
		c.takeStrings(value)
	} else {
		c.take(value)
	}
	if !c.step() {
		c.skipped++
	}
	return c.texts, c.skipped
}

type collector struct {
	texts   []string
	seen    map[string]struct{}
	skipped int
	steps   int // lines and tokens that were looked at
}

// step reports whether there may be more steps.
func (c *collector) step() bool {
	c.steps++
	return c.steps <= maxSteps && len(c.texts) <= maxPieces
}

// take takes text without the space around it, of which nothing is secret: a line of a log must not lose its end.
func (c *collector) take(text string) {
	text = strings.TrimSpace(text)
	if isWeak(text) {
		c.skipped++
		return
	}
	c.add(text)
	if !isDocument(text) { // its lines are those of other documents too
		for line := range strings.Lines(text) {
			if !c.step() {
				return
			}
			if line = strings.TrimSpace(line); !isWeak(line) && !isFrame(line) {
				c.add(line)
			}
		}
	}
	c.takeStrings(text)
}

// takeStrings takes each string of the JSON in text, as it is meant and as it is written.
func (c *collector) takeStrings(text string) {
	for l := range leaves(text, c.step) {
		if l.number {
			continue
		}
		c.take(l.meant)
		if !isWeak(l.written) {
			c.add(l.written)
		}
	}
}

// add adds text, in parts if it is long.
func (c *collector) add(text string) {
	if _, known := c.seen[text]; known {
		return
	}
	c.seen[text] = struct{}{}
	for len(text) > longest {
		part := longest - longest%3 // so that the base64 of a part is that of the whole
		if rest := len(text) - part; rest < weakest {
			part -= weakest + 1 // which divides by 3
		}
		for cut := part; cut > part-3*utf8.UTFMax && cut > 0; cut -= 3 {
			if utf8.RuneStart(text[cut]) {
				part = cut
				break
			}
		}
		c.texts = append(c.texts, text[:part])
		text = text[part:]
	}
	c.texts = append(c.texts, text)
}

// isWeak reports whether text is found in what is no secret: if it is short, or a word, or a number.
func isWeak(text string) bool {
	if len(text) < weakest {
		return true
	}
	other := func(is func(rune) bool) bool {
		return strings.ContainsFunc(text, func(r rune) bool { return !is(r) })
	}
	return !other(unicode.IsLetter) || !other(unicode.IsDigit)
}

// isFrame reports whether line is that around a PEM block, which is the same for all.
func isFrame(line string) bool {
	const dashes = "-----"
	return strings.HasPrefix(line, dashes+"BEGIN ") && strings.HasSuffix(line, dashes) ||
		strings.HasPrefix(line, dashes+"END ") && strings.HasSuffix(line, dashes)
}

// asPrinted are the forms in which logs mostly print a text.
const asPrinted = 1<<plain | 1<<jsonString | 1<<jsonStringForHTML | 1<<goString

// patterns returns all texts in those forms that wanted has a bit for, and how many bytes they have together. If these are
// more than most, it does not come to the end.
func patterns(texts []string, wanted uint32, most int) (all []string, bytes int) {
	for _, text := range texts {
		for _, form := range forms(text, wanted) {
			if form != "" {
				all = append(all, form)
				bytes += len(form)
			}
		}
		if bytes > most {
			break
		}
	}
	return all, bytes
}
