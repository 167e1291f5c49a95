package rules

import "strings"

// legRE matches a leg in the form of the reference tables, as parseLeg reads it.
func legRE() string {
	words := `(dcerpc|http|nmf|smb)\[[^\], ]+(,[^\], ]+)*\]|tls\[([^\], .]+|[^\], ]*\.[^\], ]*(,[^\], ]+)*)\]|[^ \[A-Z]+`
	return "(" + rangeRE + "|dynamic/" + protoRE + "|" + ipRE + ")( (" + words + "))?( (" + strings.Join(legFlags, "|") + "))*"
}

func portSchema() *schema {
	return pattern(rangeRE + "( dynamic)?|dynamic/" + protoRE + "|" + ipRE).said("The server's port: 25/tcp, 5075-5077/tcp, dynamic/tcp, 6005-59530/tcp dynamic, -/esp.")
}

// factsSchema is a mapping of attributes, or a list of those.
func factsSchema(description string) *schema {
	facts := func() *schema { return &schema{Type: "object", MinProps: 1, Additional: textOrList()} }
	return &schema{AnyOf: []*schema{facts(), {Type: "array", Items: facts(), MinItems: 1}}, Description: description}
}

// matchKeys are the keys of a match.
func matchKeys() map[string]*schema {
	return map[string]*schema{
		"port":     portSchema(),
		"protocol": pattern(`[^A-Z]*[^A-Z\s][^A-Z]*`).said("The protocol that is read there, in lower case: smtp, dcerpc, tls."),
		"inside":   anyText().said("What TLS carries."),
		"facts":    factsSchema("Attributes, of each of which the flow must have one of the values."),
		"either":   factsSchema("Attributes, of which the flow must have one."),
		"without":  factsSchema("Attributes of which the flow must have none of the values."),
	}
}

// legsSchema is a list of legs and of the names of leg sets.
func legsSchema() *schema {
	keys := matchKeys()
	keys["leg"] = pattern(legRE()).said("The leg in the form of the reference tables: PORT/PROTOCOL [protocol[details]] [flags].")
	keys["reverse"] = flagSchema().said("The server side opens the connection.")
	keys["content_only"] = flagSchema().said("The content must have been read.")
	keys["auth"] = oneOf(NotApplicable).said("The column on authentication does not hold for this leg.")
	keys["encryption"] = oneOf(NotApplicable).said("The column on encryption does not hold for this leg.")
	keys["max_confidence"] = oneOf(capWords...).said("The most that a match can say.")
	keys["group"] = anyText().said("The group of rows that tie on this leg.")
	keys["site_port"] = oneOf(sitePortWords...).said("The setting of the site file that replaces the port.")
	leg := object(keys)
	leg.AnyOf = []*schema{{Required: []string{"port"}}, {Required: []string{"leg"}}}
	leg.If = &schema{
		Properties: map[string]*schema{"port": {Pattern: "dynamic"}}, Required: []string{"port"}, Not: &schema{Required: []string{"leg"}},
	}
	leg.Then = &schema{AnyOf: []*schema{{Required: []string{"protocol"}}, {Required: []string{"facts"}}}}
	return &schema{
		Type: "array", Items: &schema{AnyOf: []*schema{pattern(legRE() + "|[^/]+"), leg}},
		Description: "The connections: legs, and names of leg sets.",
	}
}

func notEmpty(s *schema) *schema {
	s.MinItems = 1
	return s
}

func confidenceSchema() *schema {
	return oneOf(confidenceWords...).said("How far to trust ports and ends.")
}

func sourceSchema() *schema {
	return textOrList().said("The documents: keys of documents, or texts.")
}

func pathSchema() *schema {
	conditions := object(map[string]*schema{
		"not_from":     someOf(roleList(ofServer)...).said("Roles that \"any\" in from leaves out."),
		"not_to":       someOf(roleList(ofServer)...).said("Roles that \"any\" in to leaves out."),
		"no_pipe":      flagSchema().said("SMB is for files: a named pipe does not fit."),
		"names_decide": flagSchema().said("A flow fits only if it shows one of the names or paths of its leg."),
		"http_methods": alternatives().said("The HTTP methods of which a request must have one."),
		"unannounced":  oneOf("undetermined").said("A flow at a high port that nothing announced is at most undetermined."),
	})
	conditions.MinProps = 1
	return object(map[string]*schema{
		"id":             anyText().said("The row's id, which begins with the version."),
		"name":           anyText().said("The row's name for people."),
		"table":          anyText().said("The table of the reference. not-used: the reference says that Exchange does not use it."),
		"group":          anyText().said("The set of rows that no packet can tell apart."),
		"from":           someOf(roleList(ofPath)...).said("Roles of the client."),
		"to":             someOf(roleList(ofPath)...).said("Roles of the server."),
		"one_end":        someOf(roleList(ofServer)...).said("Roles of which one end must have one."),
		"external":       flagSchema().said("The client may be on the internet."),
		"local":          flagSchema().said("The path is documented on the host itself alone."),
		"conditions":     conditions.said("What narrows the path further."),
		"ports":          anyText().said("The legs as the reference prints them, if that is not how they are matched."),
		"default_auth":   someOf(authWords...).said("The reference's column on default authentication."),
		"supported_auth": someOf(authWords...).said("The reference's column on supported authentication."),
		"encryption":     someOf(encryptionWords...).said("The reference's column on encryption."),
		"by_default":     oneOf(byDefaultWords...).said("Whether the path is encrypted by default."),
		"note":           anyText().said("The reference's note."),
		"source":         sourceSchema(),
		"confidence":     confidenceSchema(),
		"firewall_rules": textOrList().said("The Windows Firewall rules of Exchange setup that admit it."),
		"legs":           notEmpty(legsSchema()),
		"max_confidence": oneOf(capWords...).said("The most that a match of any leg can say unless the endpoint was announced."),
	})
}

func evidenceSchema(proves bool) *schema {
	match := object(matchKeys())
	match.AnyOf = []*schema{{Required: []string{"protocol"}}, {Required: []string{"facts"}}, {Required: []string{"either"}}}
	byVersion := object(map[string]*schema{
		"versions": someOf(versions...).said("The versions that it holds for."),
		"ports":    listOf(portNumberSchema()).said("The server's ports that it holds for."),
		"roles":    someOf(roleList(ofServer)...).said("The roles that are proven."),
	}, "roles")
	s := object(map[string]*schema{
		"id":             anyText().said("A stable name."),
		"roles":          someOf(roleList(ofServer)...).said("The role that is proven, or the alternatives."),
		"by_version":     listOf(byVersion).said("Roles for some versions and ports."),
		"end":            oneOf(endWords...).said("The end of the flow that is proven."),
		"any":            notEmpty(listOf(match)).said("The matches of which one suffices."),
		"weak":           flagSchema().said("It counts only for a host of which nothing else is known."),
		"peer":           someOf(roleList(ofServer)...).said("The roles of which the other end of the flow must be proven to have one."),
		"vetoes":         flagSchema().said("The host is no Exchange server, whatever else it shows."),
		"version":        oneOf(versions...).said("The Exchange version that is proven along with it."),
		"versions":       someOf(versions...).said("The versions that can show it."),
		"build":          anyText().said("The fact that holds the build number."),
		"proves_version": flagSchema().said("What shows it also has one of its versions."),
		"pending":        anyText().said("Why nothing proves it yet."),
		"what":           anyText().said("The evidence in words."),
		"fooled_by":      anyText().said("What else shows the same."),
		"note":           anyText().said("A comment."),
		"source":         anyText().said("The documents."),
		"confidence":     confidenceSchema(),
	}, "end", "source")
	s.AnyOf = []*schema{{Required: []string{"note"}}, {Required: []string{"what"}}}
	if proves {
		s.Properties["vetoes"].Enum = []any{false}
		s.AllOf = []*schema{
			{AnyOf: []*schema{{Required: []string{"any"}}, {Required: []string{"pending"}}}},
			{AnyOf: []*schema{{Required: []string{"roles"}}, {Required: []string{"build"}}, {Required: []string{"proves_version"}}}},
		}
	}
	return s
}

func policySchema() *schema {
	grade := object(map[string]*schema{
		"versions": someOf(versions...).said("The versions that it holds for; all others if left out."),
		"level":    oneOf(levelWords...).said("How grave it is."),
		"rule":     anyText().said("The id of the row that forbids the mechanism."),
		"note":     anyText().said("An explanation."),
		"source":   anyText().said("The document."),
	}, "level", "source")
	weakness := object(map[string]*schema{
		"id":         anyText().said("A stable short name."),
		"finding":    anyText().said("The id of the finding."),
		"fact":       anyText().said("The attribute that shows it."),
		"values":     textOrList().said("Patterns of which one must fit."),
		"text":       anyText().said("The words of the finding; {value} stands for what was seen."),
		"encryption": oneOf(encryptionWords...).said("Only rows that document this word of encryption."),
		"grades":     listOf(grade).said("How grave it is, by version."),
	}, "id", "finding", "fact", "values", "text", "grades")
	announced := object(map[string]*schema{
		"by":       textOrList().said("The ways in which an endpoint is announced."),
		"protocol": anyText().said("The protocol that it speaks."),
	}, "by", "protocol")
	return object(map[string]*schema{
		"exchange_roles": someOf(roleList(ofServer)...).said("Roles that only an Exchange server has."),
		"alone":          someOf(roleList(ofServer)...).said("Roles that a server has instead of any other role of Exchange servers."),
		"answering":      textOrList().said("Protocols whose server answers every request."),
		"announced":      listOf(announced).said("The protocols of announced endpoints."),
		"violations":     textOrList().said("The ids of findings that break a document."),
		"remarks":        textOrList().said("The ids of findings that break none."),
		"weak":           listOf(weakness).said("Weak mechanisms."),
	})
}

// itemsOf returns a pack whose items of a list have the keys, unless the pack says
// that for all.
func itemsOf(list string, required ...string) *schema {
	return &schema{Properties: map[string]*schema{list: {Items: &schema{Required: required}}}}
}

func packSchema() *schema {
	iface := object(map[string]*schema{
		"name":       pattern(`[^ *|,A-Z]+`).without("^" + Unnamed + "$").said("The short name, one word in lower case."),
		"uuid":       pattern(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).said("The UUID in lower case."),
		"version":    {Type: []string{"string", "number"}, Pattern: `^(\?|[0-9]+\.[0-9]+)(\|(\?|[0-9]+\.[0-9]+))*$`, Description: "major.minor, alternatives, or ? for any."},
		"title":      anyText().said("What it is."),
		"service":    anyText().said("Who serves it."),
		"use":        anyText().said("What a call of it means."),
		"source":     anyText().said("The document."),
		"confidence": confidenceSchema(),
	}, "name", "uuid", "version", "title")
	local := object(map[string]*schema{
		"port": pattern(rangeRE + "|" + ipRE).said("The port."), "note": anyText().said("What it is for."), "source": anyText().said("The document."),
	}, "port", "note", "source")
	absent := object(map[string]*schema{
		"id":       pattern(`not\..*`).said("The id, which begins with not."),
		"versions": someOf(versions...).said("The versions that must not have it."),
		"what":     anyText().said("What it is."),
		"from":     someOf(roleList(ofServer)...).said("Roles of the client."),
		"to":       someOf(roleList(ofServer)...).said("Roles of the server."),
		"legs":     legsSchema(), "weakness": anyText().said("The weakness of the policy that grades it."),
		"http_methods": alternatives().said("Methods of HTTP requests."),
		"note":         anyText().said("A comment."), "source": sourceSchema(), "confidence": confidenceSchema(),
	}, "id", "versions", "what", "from")
	build := object(map[string]*schema{
		"build":   {Type: []string{"string", "number"}, Pattern: `^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){1,3}(\.\*)?$`, Description: "The build number, or its beginning with .*"},
		"version": oneOf(buildVersions...).said("The version."),
		"name":    anyText().said("The product with its update."),
		"date":    anyText().said("The day of the release."), "long": anyText().said("The zero-padded number."),
		"note": anyText().said("A comment."), "source": sourceSchema(), "confidence": confidenceSchema(),
	}, "build", "version", "name")
	groupLegs := &schema{
		AnyOf:       []*schema{pattern(legRE()), {Type: "array", Items: pattern(legRE()), MinItems: 1, UniqueItems: true}},
		Description: "Legs that are in the group in every row.",
	}
	group := object(map[string]*schema{
		"id": anyText().said("The group's id."), "name": anyText().said("The group's name for people."), "legs": groupLegs,
	}, "id", "name")
	s := object(map[string]*schema{
		"version":     oneOf(packVersions...).said("The Exchange version of the paths, or windows."),
		"confidence":  confidenceSchema().said("The confidence of all rows that have none."),
		"source":      sourceSchema().said("The documents of all rows that have none."),
		"extends":     anyText().said("The pack whose paths and groups are taken over."),
		"ends":        &schema{Type: "object", Names: oneOf(roleList(ofServer)...), Additional: someOf(roleList(ofServer)...), Description: "What stands for roles of the pack that is extended."},
		"append":      object(map[string]*schema{"note": anyText().said("Added to notes."), "source": anyText().said("Added to documents."), "confidence": confidenceSchema()}).said("What is added to the paths taken over."),
		"without":     textOrList().said("Ids of paths that are left out."),
		"documents":   mapping(anyText()).said("Short keys for documents."),
		"groups":      listOf(group).said("Names of groups of rows that no packet can tell apart."),
		"leg_sets":    mapping(legsSchema()).said("Lists of legs that paths name."),
		"paths":       listOf(pathSchema()).said("The data paths."),
		"interfaces":  listOf(iface).said("RPC interfaces."),
		"evidence":    listOf(evidenceSchema(true)).said("What proves roles."),
		"no_evidence": listOf(evidenceSchema(false)).said("What looks like a proof and is none."),
		"local_only":  listOf(local).said("Ports for the host itself alone."),
		"absent":      listOf(absent).said("What some versions must not have."),
		"builds":      listOf(build).said("Build numbers."),
		"pinned":      listOf(pinnedSchema()).said("Services whose ports can be pinned."),
		"policy":      policySchema().said("What is weak, and how grave that is."),
	})
	s.Title = "exspan pack of rules"
	s.Description = "Documented data paths of Exchange, and what exspan knows beside them."
	s.Dependencies = map[string][]string{"paths": {"version"}, "ends": {"extends"}, "append": {"extends"}, "without": {"extends"}}
	extends, source, confidence := &schema{Required: []string{"extends"}}, &schema{Required: []string{"source"}}, &schema{Required: []string{"confidence"}}
	s.AllOf = []*schema{
		{If: extends, Else: itemsOf("paths", "id", "name", "from", "to", "legs")},
		{If: &schema{AnyOf: []*schema{extends, source}}, Else: itemsOf("paths", "source")},
		{If: &schema{AnyOf: []*schema{extends, confidence}}, Else: itemsOf("paths", "confidence")},
		{If: confidence, Else: itemsOf("interfaces", "confidence")},
	}
	for _, list := range []string{"interfaces", "builds", "pinned", "absent"} {
		s.AllOf = append(s.AllOf, &schema{If: source, Else: itemsOf(list, "source")})
	}
	return s
}

func pinnedSchema() *schema {
	return object(map[string]*schema{
		"versions":   someOf(buildVersions...).said("The versions."),
		"service":    anyText().said("The service."),
		"interfaces": alternatives().said("The RPC interfaces or protocols that move with it."),
		"default":    anyText().said("The port without pinning."),
		"by":         anyText().said("The means of pinning."),
		"where":      anyText().said("The place of the setting."),
		"value":      anyText().said("The name of the setting."),
		"type":       anyText().said("The type of the setting."),
		"range":      anyText().said("The range that the documents recommend."),
		"since":      anyText().said("The first version or update with the setting."),
		"restart":    anyText().said("What has to be restarted."),
		"site":       flagSchema().said("The site file's static_ports may name the interfaces."),
		"note":       anyText().said("A comment."),
		"source":     sourceSchema(),
		"confidence": confidenceSchema(),
	}, "versions", "service")
}
