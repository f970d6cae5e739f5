"""What ``inspect`` says of a vector, beside what the vector states: the language of ``client/vectors.json``."""

import re


def faults(stated, rules, table, names, inspection, holds):
    """What is not as the vector (``stated``) says; ``names`` are those of the files that were inspected."""
    root = everything(names, inspection, rules)
    wrong = []
    expected = stated["expected"]
    claims = rules["results"][expected["result"]]
    if claims == "path":
        leaves = find(rules["leaves"], root, root) or []
        leaves = leaves if isinstance(leaves, list) else [leaves]
        if not leaves or any(("root" in leaf["path"]) != holds for leaf in leaves):
            wrong.append(f"paths: {[leaf['path'] for leaf in leaves]}")
    if not holds:
        return wrong
    compare = Comparison(root, table, wrong).compare
    compare(stated["fields"], table["fields"][rules["fields"]], root, "fields")
    for name, spec in rules.get("expected", {}).items():
        if name in expected:
            compare(expected[name], spec, root, name)
    if isinstance(claims, dict):
        for path, claim in claims.items():
            as_stated = isinstance(claim, str) and claim.startswith("=")
            compare(expected[claim[1:]] if as_stated else claim, path, root, path)
    return wrong


def everything(names, inspection, rules):
    """Each file by its name, what holds among them, and the kind's names."""
    files = inspection["files"]
    contents = [file["content"] for file in files if "content" in file]
    root = {
        "checks": inspection["checks"],
        "certificates": [one for content in contents for one in content.get("certificates", [])],
        "lists": [content for content in contents if content["kind"] == "revocation_list"],
    }
    root.update((name, file.get("content", file)) for name, file in zip(names, files))
    named = {name: find(path, root, root) for name, path in rules.get("names", {}).items()}
    return {**root, **named}


class Comparison:
    """Collects in ``wrong`` what differs."""

    def __init__(self, root, table, wrong):
        self.root, self.spellings, self.wrong = root, table["spelled"], wrong
        self.written = table["written"]

    def compare(self, stated, spec, here, at):
        if spec is None:
            return
        if isinstance(spec, str):
            self.expect(self.value(spec, here), self.spelled(stated), at)
        elif isinstance(spec, list):
            if len(stated) != len(spec):
                self.wrong.append(f"{at}: {stated} is no list of {len(spec)}")
                return
            for index, (one, inner) in enumerate(zip(stated, spec)):
                self.compare(one, inner, here, f"{at}/{index}")
        elif "where_known" in spec:
            found = self.value(spec["where_known"], here)
            if found is not None:
                self.expect(found, self.spelled(stated), at)
        elif "is" in spec:
            path, wanted = spec["is"]
            self.expect(same(self.value(path, here), wanted), bool(stated), at)
        elif "same" in spec:
            one, other = (self.value(path, here) for path in spec["same"])
            self.expect(one is not None and same(one, other), stated, at)
        elif "all" in spec:
            self.expect(all(self.value(path, here) is True for path in spec["all"]), stated, at)
        elif "begins" in spec:
            found = self.value(spec["begins"], here)
            if stated.endswith("...") and isinstance(found, str):
                self.expect(found.startswith(stated[:-3]), True, at)
            else:
                self.expect(found, stated, at)
        elif "each" in spec:
            found = self.value(spec["each"], here) or []
            if len(found) != len(stated):
                self.wrong.append(f"{at}: {len(found)} found, {len(stated)} stated")
                return
            for index, (one, inner) in enumerate(zip(stated, found)):
                self.compare(one, spec["as"], inner, f"{at}/{index}")
        else:
            for name, one in stated.items():
                if name in spec:
                    self.compare(one, spec[name], here, f"{at}/{name}")
                elif "*" in spec:
                    self.compare(one, filled(spec["*"], name), here, f"{at}/{name}")
                else:
                    self.wrong.append(f"{at}/{name} is not in client/vectors.json")

    def expect(self, found, stated, at):
        if not same(found, stated):
            self.wrong.append(f"{at}: found {found!r}, stated {stated!r}")

    def value(self, path, here):
        return find(path, here, self.root)

    def spelled(self, stated):
        if not isinstance(stated, str):
            return stated
        if stated in self.spellings:
            return self.spellings[stated]
        for theirs, ours in self.written.items():
            stated = stated.replace(theirs, ours)
        return re.sub(r"\+00:00$", "Z", stated)


def filled(spec, name):
    """A spec for every other name, with the name in it."""
    if isinstance(spec, str):
        return spec.replace("*", name)
    return {key: filled(one, name) for key, one in spec.items()}


def find(paths, here, root):
    """What stands at a path; ``None`` if nothing does."""
    for path in paths.split("|"):
        found = root if path.startswith("/") else here
        for step in path.lstrip("/").split("/"):
            found = part(found, step)
        if found is not None:
            return found
    return None


def part(value, step):
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list) and step == "length":
        return len(value)
    if isinstance(value, list) and step == "last":
        return value[-1] if value else None
    if isinstance(value, list):
        return value[int(step)] if step.isdigit() and int(step) < len(value) else None
    if isinstance(value, str) and step == "0x":
        return f"0x{value.lstrip('0')}"
    if isinstance(value, str) and step.isdigit():
        return int(value.split(".")[int(step)])
    if value is None or not step.startswith("le"):
        return None
    number = int(value, 16) if isinstance(value, str) else value
    return number.to_bytes(8, "little")[: int(step[2:])].hex()


def same(one, other):
    """Equal as JSON is: ``True`` is no number."""
    return type(one) is type(other) and one == other
