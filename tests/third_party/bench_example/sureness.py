"""What the report shows beside the images that `max_softmax` has judged."""

from benchmark import Panel
from benchmark.panel import Bar, Bars


class Sureness(Panel):
    """A bar for the clean and one for the attacked image: the confidence that the detector distrusts."""

    title = "Sureness"

    def of_image(self, image):
        if image.use != "max_softmax":
            return ()
        verdicts = [("clean", image.clean), ("attacked", image.attacked)]
        sure = [(name, 1 - verdict.score) for name, verdict in verdicts if verdict is not None]
        return [Bars("Confidence of the classifier", tuple(Bar(name, share, f"{share:.1%}") for name, share in sure))]
