"""p(x | z) of models whose likelihood is known in closed form."""

from torch.distributions import Normal

from models.networks.outputs import Output


class UnitNormal(Output):
    """N(parameters, I): the linear-Gaussian model's p(x | z)."""

    numbers_per_value = 1
    measure = "density"

    def log_prob(self, parameters, x):
        return Normal(parameters, 1.0).log_prob(x).sum(dim=1)

    def mean(self, parameters):
        return parameters

    def bias(self, mean):
        return mean
