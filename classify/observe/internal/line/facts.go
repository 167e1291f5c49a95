package line

import (
	"bytes"

	"github.com/exspan/exspan/classify/observe"
)

// AddBanner reports a greeting: its wording as the fact name, whether or not identities
// are reported, and the build number of an Exchange server in it. With Report.Identities
// it also reports the whole text as the fact full.
func AddBanner(r *observe.Report, name, full, wording string, greeting []byte) {
	r.Add(name, wording)
	if b := ExchangeBuild(wording); b != "" {
		r.Add(observe.ExchangeVersion, b)
	}
	if r.Identities {
		r.Add(full, string(greeting[:min(len(greeting), observe.MaxFactLength)]))
	}
}

// ExchangeBuild returns the build number, such as "6.5.7638.1", in the wording of a
// greeting that names Microsoft Exchange, or "". Servers up to 2003 state it.
func ExchangeBuild(wording string) string {
	const product = "Microsoft Exchange"
	b := []byte(wording)
	i := bytes.Index(b, []byte(product))
	if i < 0 {
		return ""
	}
	for words := Words(b[i+len(product):]); ; {
		w := words.Next()
		if len(w) == 0 {
			return ""
		}
		w = trimPunctuation(w)
		if _, has := word(w); has == digit|dot && bytes.Count(w, []byte{'.'}) >= 2 {
			return string(w)
		}
	}
}

// Values adds values to facts and limits their number. The zero value is ready to use.
type Values struct{ n uint8 }

// maxValues is the maximum number of capabilities and mechanisms reported for one flow.
const maxValues = 28

// Add adds value to the fact name, unless value is empty or known, or the limit is
// reached.
func (v *Values) Add(r *observe.Report, name, value string) {
	if value != "" && v.n < maxValues && !r.Has(name, value) {
		v.n++
		r.Add(name, value)
	}
}
