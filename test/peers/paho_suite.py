"""Runs named tests of one module of the Eclipse Paho interoperability suites against a server and tells, one line of JSON a test, how each went.
Arguments: the suites' folder, the module, the port, the tests' names. The suites are told of the server by their module's variables, which is all that their own command line does."""
import contextlib, importlib, io, json, logging, sys, unittest

folder, module, port, *names = sys.argv[1:]
sys.path.insert(0, folder)
logging.disable(logging.CRITICAL)
out, sys.stdout = sys.stdout, io.StringIO()
suite = importlib.import_module(module)
suite.host, suite.port, suite.topic_prefix = "127.0.0.1", int(port), ""
suite.topics = ["TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA"]
suite.wildtopics = ["TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#"]
if module == "client_test5":
    suite.topic_prefix = "client_test5/"
    suite.topics = [suite.topic_prefix + t for t in suite.topics]
    suite.wildtopics = [suite.topic_prefix + t for t in suite.wildtopics]
suite.nosubscribe_topics = ("test/nosubscribe",)


def tell(name, result, said):
    wrong = [text for _, text in result.errors + result.failures]
    out.write(json.dumps({"test": name, "ok": result.wasSuccessful() and result.testsRun == 1, "said": "\n".join(wrong + [said])[-3000:]}) + "\n")
    out.flush()


every = unittest.defaultTestLoader.getTestCaseNames(suite.Test)
if names == ["list"]:
    out.write(json.dumps(every) + "\n")
    sys.exit(0)
for name in names:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        result = unittest.TestResult()
        unittest.TestSuite([suite.Test(name)]).run(result)
    tell(name, result, said.getvalue())
