package injectors

import (
	"slices"
	"strings"
)

// vocabulary has the annotation keys that injectors read, by their domains and by what is behind the slash, so that a key is
// compared with few others.
type vocabulary struct {
	domains map[string]*domain
	names   map[string][]string // the domains in which a name is read
}

type domain struct {
	names  []string    // sorted
	begins []string    // of names that end as their users like
	of     []*Injector // whose keys these are
}

func newVocabulary(all []*Injector) vocabulary {
	v := vocabulary{domains: map[string]*domain{}, names: map[string][]string{}}
	for _, i := range all {
		for k := range i.Annotations {
			v.add(i, i.Annotations[k].Key)
		}
	}
	for _, d := range v.domains {
		slices.Sort(d.names)
		slices.Sort(d.begins)
	}
	return v
}

func (v *vocabulary) add(i *Injector, key string) {
	where, name, ok := strings.Cut(key, "/")
	if !ok {
		return
	}
	d := v.domains[where]
	if d == nil {
		d = &domain{}
		v.domains[where] = d
	}
	if !slices.Contains(d.of, i) {
		d.of = append(d.of, i)
	}
	switch {
	case name == "" || strings.HasSuffix(name, "-"):
		d.begins = append(d.begins, name)
	case !slices.Contains(d.names, name):
		d.names = append(d.names, name)
		v.names[name] = append(v.names[name], where)
	}
}

// Strange tells whether the annotation key looks like one of an injector's, by its domain or by its name, and is not one that
// any reads.
func (c *Catalogue) Strange(key string) bool {
	if _, known := c.keys[key]; known {
		return false
	}
	where, name, ok := strings.Cut(key, "/")
	if !ok {
		return false
	}
	d, ours := c.words.domains[where]
	if !ours {
		return len(c.words.names[name]) > 0
	}
	return !begins(d.begins, name)
}

// Meant returns the key that a Strange one was meant to be, "" where it is like none: it may be new, or none of an injector's.
//
//	vault.hashicorp.com/agent-injekt                 a letter or two
//	vault.hashcorp.com/agent-inject                  in the domain alone
//	sidecar.istio.io/excludeOutboundIPRanges         under another domain of the injector's
//	vault.hashicorp.com/agent-inject-secrets-db      in what comes before a name of the user's own
func (c *Catalogue) Meant(key string) string {
	where, name, _ := strings.Cut(key, "/")
	d, ours := c.words.domains[where]
	if !ours {
		if near := Nearest(where, c.words.names[name]); near != "" {
			return near + "/" + name
		}
		return ""
	}
	if other := d.elsewhere(where, name); other != "" {
		return other
	}
	if near := Nearest(name, d.names); near != "" {
		return where + "/" + near
	}
	for _, b := range d.begins {
		if rest, ok := beginsLike(name, b); ok {
			return where + "/" + b + rest
		}
	}
	return ""
}

// elsewhere returns the key of that name that the domain's injectors read under another domain.
func (d *domain) elsewhere(where, name string) string {
	for _, i := range d.of {
		for k := range i.Annotations {
			other, n, _ := strings.Cut(i.Annotations[k].Key, "/")
			if n == name && other != where {
				return i.Annotations[k].Key
			}
		}
	}
	return ""
}

// beginsLike tells whether the name begins almost so, and returns what comes after that.
func beginsLike(name, begins string) (rest string, ok bool) {
	for n := max(len(begins)-maxTypos, 1); n <= min(len(begins)+maxTypos, len(name)); n++ {
		if name[n-1] == '-' && distance(name[:n], begins) <= typos(begins) {
			return name[n:], true
		}
	}
	return "", false
}

// maxTypos is how many letters a word may differ from the one that was meant; maxWord bounds the words that are compared, as the
// API server bounds the names in keys.
const maxTypos, maxWord = 2, 63

// typos is how many a word may have: in a short one a single letter makes another word.
func typos(word string) int { return min(maxTypos, len(word)/5) }

// Nearest returns the word that was most likely meant, "" where none is like it. Upper and lower case are alike.
func Nearest(word string, words []string) string {
	best, least := "", maxTypos+1
	for _, w := range words {
		if n := distance(word, w); n <= typos(w) && n < least {
			best, least = w, n
		}
	}
	return best
}

// distance counts the letters to change, add, drop or swap with their neighbour that make one word of the other; more than maxTypos
// where they are further apart than that. Upper and lower case are alike.
func distance(a, b string) int {
	const far = maxTypos + 1
	if len(a) > maxWord || len(b) > maxWord || len(a)-len(b) > maxTypos || len(b)-len(a) > maxTypos {
		return far
	}
	var rows [3][maxWord + 1]int
	before, last, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		least := row[0]
		for j := range len(b) {
			changed := 1
			if lower(a[i]) == lower(b[j]) {
				changed = 0
			}
			n := min(last[j]+changed, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && lower(a[i]) == lower(b[j-1]) && lower(a[i-1]) == lower(b[j]) {
				n = min(n, before[j-1]+1)
			}
			row[j+1] = n
			least = min(least, n)
		}
		if least > maxTypos {
			return far
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
